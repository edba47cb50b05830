"""The first step of a run: checks that cost nothing, and what exactly the run works on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tunepipe.catalog.backends import find_backend
from tunepipe.catalog.catalog import load_catalog
from tunepipe.catalog.schema import Model
from tunepipe.data.rows import read_examples
from tunepipe.data.text_pairs import estimate_tokens
from tunepipe.errors import plural
from tunepipe.evaluation.settings import check_settings
from tunepipe.evaluation.tasks import check_parts
from tunepipe.registry import champions, data_history, looks, records
from tunepipe.steps.cloud_checks import check_step
from tunepipe.steps.promotion import first_step, still_serving
from tunepipe.stores.generations import identity
from tunepipe.stores.storage import local_files


class Prepared(NamedTuple):
    """The inputs of the later steps, as plain values: their cached results depend only on them.

    `components.preparation.prepare_run` describes them. The first champion counts with a margin
    alone, which small losses could spend again and again.
    """

    Output: str
    fingerprint: str
    champion: str
    first: str
    guard_fingerprint: str
    unchanged_since: str
    asking: dict[str, Any]
    scoring: dict[str, Any]
    judging: dict[str, Any]


def prepare_step(ports: Mapping[str, Any]) -> Prepared:
    """Check what can be checked for free, and find what the run works on.

    The ports are those of `components.families.checking` and `preparing`. What would fail the run
    an hour later is raised here.
    """
    backend, base_model = str(ports["backend"]), str(ports["base_model"])
    # What a step after the tuning would refuse is refused here, before anything is paid.
    catalog = load_catalog(ports["tables"])
    check_settings(ports, backend, catalog)
    if find_backend(backend).in_cloud:
        print(check_step(ports))
    dataset_uri, registry = str(ports["dataset_uri"]), str(ports["registry"])
    fingerprint = identity(dataset_uri).fingerprint
    rules = {name: ports[name] for name in ("series", "min_new_rows", "format")}
    changed = data_history.decide(dataset_uri, fingerprint, registry, **rules)
    since = champion = first = guard = ""
    present: champions.Move | None = None
    guard_size: dict[str, int] = {}
    run, trained = ports["run_id"] or ports["job"], {}
    if changed == data_history.UNCHANGED:
        since = data_history.record_unchanged(registry, ports["series"], run)
    else:
        present = champions.champion(registry)
        if served := still_serving(present):
            champion = served.model
            trained["champion"] = records.find_trained_rows(registry, served.run)
            if ports["margin"] > 0 and (first := first_step(registry, champion)):
                run_of_first = champions.history(registry)[0].run
                trained["first"] = records.find_trained_rows(registry, run_of_first)
        base = catalog.find_model(base_model, backend)
        if guard_uri := str(ports["guard_uri"]):
            guard_size = _check_guard(guard_uri, base)
            guard = identity(guard_uri).fingerprint
    # Sorted by the step that needs them, so that each caches on its own alone.
    asking = {name: ports[name] for name in ("max_output_tokens", "answers", "group_by")}
    names = ("task", "metric", "margin", "guard_margin", "seed")
    price = catalog.prices.answers.get(base_model)
    scoring = {name: ports[name] for name in names} | ports["scoring"]
    scoring |= {
        "champion_version": present.version if present else 0,
        "looks": [] if since else looks.earlier(registry, run),
        "trained": trained,
        "price": {
            "read": price.usd_per_million_read,
            "written": price.usd_per_million_written,
            "tuned_factor": price.tuned_factor,
        }
        if price
        else {},
    }
    judging = {"model": ports["judge_model"], "prompt": ports["judge_prompt"]}
    if missing := ports["scoring"].get("missing"):
        judging["missing"] = missing
    asking |= ports["asking"] | ({"guard": guard_size} if guard_size else {})
    return Prepared(changed, fingerprint, champion, first, guard, since, asking, scoring, judging)


def _check_guard(uri: str, model: Model) -> dict[str, int]:
    """Read every guarded row once, refuse what the model cannot be shown; return their tokens."""
    with local_files(uri) as paths:
        rows = [row for path in paths for row in read_examples(path)]
    check_parts(rows, model, rows="guarded rows")
    print(plural(len(rows), "guarded row"))
    return {
        "read": sum(estimate_tokens(row.input) for row in rows),
        "written": sum(estimate_tokens(row.reference) for row in rows),
    }
