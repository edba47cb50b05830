from datetime import date

import pytest

from tunepipe.catalog import models
from tunepipe.catalog.backends import BACKENDS
from tunepipe.catalog.catalog import load_catalog
from tunepipe.catalog.tables import load, merged
from tunepipe.errors import UsageError

CATALOG = load_catalog()
PRICES = load("catalog/prices.toml")


@pytest.mark.parametrize("name", CATALOG.model_table.models)
def test_every_model_reads_and_says_where_it_is_from(name):
    found = CATALOG.find_model(name)
    assert found.backend in BACKENDS
    assert date.fromisoformat(found.read)
    assert found.source
    assert set(found.formats) <= {
        "palm", "palm-chat", "gemini", "messages", "prompt-completion", "preference",
    }  # fmt: skip
    assert all(models.batch_size(found, region) >= 1 for region in found.regions)
    assert found.default_steps or found.default_epochs
    assert not found.successor or CATALOG.find_model(found.successor).tunable
    ends = [day for day in (found.tunable_until, found.served_until) if day]
    assert ends == sorted(ends)
    if found.backend == "large-model":
        assert set(found.regions) <= set(CATALOG.regions)


@pytest.mark.parametrize("name", CATALOG.model_table.models)
def test_a_models_formats_are_its_services(name):
    _, service = CATALOG.find_service(name)
    assert set(CATALOG.find_model(name).formats) <= set(service.formats)


@pytest.mark.parametrize(
    "row",
    [
        *(row for name in ("accelerators", "hours", "answers") for row in PRICES[name].values()),
        *(PRICES["tokens"], PRICES["judge"]),
    ],
)
def test_every_price_says_where_it_is_from(row):
    assert row["read"]
    assert row["source"]


@pytest.mark.parametrize("name", PRICES["training_tokens"])
def test_every_token_price_is_of_a_model_that_is_known(name):
    row = PRICES["training_tokens"][name]
    assert row["usd_per_million"] > 0
    assert row["read"]
    assert row["source"]
    assert CATALOG.find_model(name).backend in ("gemini", "open-model")


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend_has_a_default_model(backend):
    assert CATALOG.find_model(backend=backend).backend == backend


def test_overrides_go_deep_and_leave_the_table_alone():
    base = {"a": {"b": 1, "c": 2}, "d": 3}
    assert merged(base, {"a": {"b": 9}}) == {"a": {"b": 9, "c": 2}, "d": 3}
    assert base == {"a": {"b": 1, "c": 2}, "d": 3}
    load("catalog/prices.toml")["judge"]["tokens_a_reply"] = 9
    assert load("catalog/prices.toml")["judge"]["tokens_a_reply"] != 9


@pytest.mark.parametrize(
    "row", [{"family": "palm", "colour": "blue"}, {"family": "nobody"}, {"batch_size": 3}]
)
def test_a_row_that_makes_no_sense_is_refused(row):
    with pytest.raises(UsageError, match=r"models\.new"):
        load_catalog({"models": {"models": {"new": row}}})
