"""The user's own values are refused where they do not fit our tables, with the place and a hint."""

from datetime import date

import pytest
from msgspec import structs

from tunepipe.catalog.catalog import load_catalog
from tunepipe.catalog.models import is_retired
from tunepipe.catalog.schema import Calibration
from tunepipe.catalog.tables import load
from tunepipe.errors import UsageError
from tunepipe.steps.planning import plan_step

A100 = "NVIDIA_A100_80GB"
PALM = ("text-bison@001", "large-model")  # Google shut it down, and no model came in its place
OURS = {name: load(f"catalog/{name}.toml") for name in ("regions", "prices", "models", "services")}


def laid(path, value):
    """A table that holds one value, by its path with slashes."""
    for name in reversed(path.split("/")):
        value = {name: value}
    return value


def test_our_own_tables_fit():
    assert load_catalog(OURS) == load_catalog() == load_catalog({})


SAMPLE = Calibration(rows=200, estimated=1000, counted=1200, counter="a tokenizer")
NEW_PRICE = {"usd_per_million": 3, "read": date(2026, 11, 1)}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (f"prices/accelerators/{A100}/usd_per_hour/us-central1", 0),
        ("prices/accelerators/H100", {"read": "2026-11", "usd_per_hour": {"europe-west4": 9}}),
        ("prices/training_tokens/gemini-4-flash", NEW_PRICE),
        ("prices/endpoints/usd_per_hour", 2.0),
        ("prices/tokens/calibration", structs.asdict(SAMPLE)),
        ("models/models/gemini-4-flash", {"family": "gemini3"}),
        ("models/models/text-bison@001/batch_size", 4),
        # As a pipeline's parameter brings it.
        ("models/models/text-bison@001/batch_size", {"us-central1": 4.0}),
        ("models/families/palm/tunable_until", ""),
        ("models/families/palm/tunable_until", date(2027, 1, 1)),
        ("regions/us-central1/accelerators", 16),
        ("services/services/gemini/evaluation/rows_max", 100),
        ("services/first_model/palm", "text-bison@002"),
    ],
)
def test_what_an_override_is_for_stays_possible(path, value):
    load_catalog(laid(path, value))


def test_a_new_region_has_a_price_where_it_has_hardware():
    new = laid(f"prices/accelerators/{A100}/usd_per_hour/us-east5", 4.5)
    load_catalog(new | laid("regions/us-east5", OURS["regions"]["us-central1"]))
    with pytest.raises(UsageError, match="no accelerator is used by the hour in us-east5"):
        load_catalog(new)


@pytest.mark.parametrize(
    ("path", "value", "where", "words"),
    [
        ("price", {}, "tables", "did you mean prices?"),
        ("prices/acelerators", {}, "tables.prices", "did you mean accelerators?"),
        (f"prices/accelerators/{A100}/usd_per_huor", {}, A100, "did you mean usd_per_hour?"),
        ("prices/accelerators/NVIDIA_A100_80G/usd_per_hour", {}, "80G", f"did you mean {A100}?"),
        (f"prices/accelerators/{A100}/usd_per_hour/us-central1", -10.0, "us-central1", "0 or more"),
        (f"prices/accelerators/{A100}/usd_per_hour/us-central1", "ten", "us-central1", "a number"),
        (f"prices/accelerators/{A100}/usd_per_hour/us-central1", float("nan"), "-central1", "0 or"),
        (f"prices/accelerators/{A100}/usd_per_hour/us-central1", float("inf"), "-central1", "0 or"),
        (f"prices/accelerators/{A100}/usd_per_hour/us-central1", True, "-central1", "a number"),
        (f"prices/accelerators/{A100}/usd_per_hour", 3, "usd_per_hour", "a table"),
        (f"prices/accelerators/{A100}/usd_per_hour/us-centarl1", 9.0, "hour", "mean us-central1?"),
        ("prices", 3, "tables.prices", "a table"),
        ("prices/training_tokens/gemini-4-flash", {"usd_per_million": 3}, "4-flash", "add read"),
        ("prices/training_tokens/gemini-3.5-flash/read", "soon", "read", "2026-11-22"),
        ("prices/tokens/calibration", {"rows": 3}, "calibration", "add estimated"),
        ("models/models/text-bison@001/batch_size", 0, "batch_size", "1 or more"),
        ("models/models/text-bison@001/batch_size", 2.5, "batch_size", "a whole number"),
        ("models/models/text-bison@001/batch_size/us-central1", 0, "us-central1", "1 or more"),
        ("models/models/text-bison@01/batch_size", 4, "text-bison@01", "mean text-bison@001?"),
        ("models/models/text-bison@001/colour", "blue", "bison@001", "one of adapter_size"),
        ("models/models/text-bison@001/tunable", "no", "tunable", "true or false"),
        ("models/models/text-bison@001/tunable_until", "2026-13-01", "tunable_until", "a day"),
        ("models/families/palm/backend", "palm", "palm.backend", "large-model"),
        ("models/families/palm/formats", "palm", "formats", "a list of texts"),
        ("models/families/gemini3/adapter_sizes", [0], "adapter_sizes", "1 or more"),
        ("models/defaults/gemni", "x", "tables.models.defaults", "did you mean gemini?"),
        ("regions/us-east5/accelerators", 8, "regions.us-east5", "add accelerator_type"),
        ("regions/us-central1/accelerators", 0, "accelerators", "1 or more"),
        ("services/services/gemini/rows_maxx", 5, "services.gemini", "did you mean rows_max?"),
        ("services/services/gemini/evaluation/fraction_max", 3, "fraction_max", "from 0 to 1"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(path, value, where, words):
    with pytest.raises(UsageError) as caught:
        load_catalog(laid(path, value))
    assert caught.value.where.startswith("tables")
    assert caught.value.where.endswith(where)
    assert words in caught.value.fix


WRONG = {"prices": {"acelerators": {A100: {"usd_per_hour": {"us-central1": 9.0}}}}}


def test_a_ceiling_is_never_compared_with_a_misspelt_price(tmp_path):
    with pytest.raises(UsageError, match="unknown name acelerators"):
        plan_step(str(tmp_path / "plan"), WRONG, rows=240, region="us-central1")


def test_a_models_new_region_needs_its_hardware():
    more = laid("models/models/text-bison@001/regions", ["us-east5"])
    more["models"]["models"]["text-bison@001"]["batch_size"] = 8
    catalog = load_catalog(more)
    model = catalog.find_model("text-bison@001")
    with pytest.raises(UsageError, match=r"hardware in us-east5"):
        catalog.hardware_of(model, "us-east5")


def test_every_successor_and_default_can_be_tuned_today():
    catalog = load_catalog()
    table = catalog.model_table
    names = {(model.successor, "") for model in table.models.values() if model.successor}
    names |= {(name, backend) for backend, name in table.defaults.items()} - {PALM}
    assert names
    for name, backend in names:
        assert not is_retired(catalog.find_model(name, backend), catalog.as_of), name


def test_what_cannot_be_tuned_today_names_a_successor():
    catalog = load_catalog()
    for model in catalog.model_table.models.values():
        if model.backend == "gemini" and is_retired(model, catalog.as_of):
            assert model.successor, model.name


def test_only_models_that_can_be_tuned_are_suggested():
    catalog = load_catalog()
    suggested = set()
    for name in [*catalog.model_table.models, "gemini-4-argn", "gemini-2.5-por"]:
        for typo in (f"{name}x", name[:-1], name.upper() + "-1"):
            try:
                catalog.check_model_name(typo)
            except UsageError as error:
                words = error.fix.partition("?")[0].removeprefix("did you mean ")
                suggested.update(words.split(" or ") if "?" in error.fix else ())
    models = catalog.model_table.models
    assert "gemini-3.5-flash" in suggested
    for name in suggested:
        model = models[name]
        assert model.tunable
        assert model.backend == "large-model" or not is_retired(model, catalog.as_of), name
