"""Old facts are named, and a plan that relies on one says so."""

from datetime import date, timedelta

from tunepipe.catalog.ageing import (
    STALE_DAYS,
    age_warnings,
    dated_facts,
    stale_facts,
    tables_version,
)
from tunepipe.catalog.catalog import load_catalog

CATALOG = load_catalog()
QWEN = "qwen/qwen3@qwen3-4b"


def test_every_dated_row_is_a_fact_and_grows_old():
    facts = list(dated_facts(CATALOG))
    assert {fact.place.partition(".")[0] for fact in facts} == {
        *("models", "prices", "services", "accelerators", "media")
    }
    assert all(fact.read for fact in facts)
    old = stale_facts(CATALOG, CATALOG.as_of + timedelta(days=9999))
    assert set(old) == set(facts)
    ages = [fact.age_days(CATALOG.as_of) for fact in old]
    assert ages == sorted(ages, reverse=True)
    assert stale_facts(CATALOG, date(2020, 1, 1)) == []


def test_a_month_counts_from_its_first_day():
    (fact,) = [
        fact for fact in dated_facts(CATALOG) if fact.place.endswith("answers.gemini-3.5-flash")
    ]
    assert (fact.read, fact.age_days(date(2026, 9, 11))) == ("2026-09", 10)


def test_a_model_is_warned_of_by_the_facts_that_it_relies_on():
    def warnings(model, read):
        day = date.fromisoformat(read) + timedelta(days=STALE_DAYS + 1)
        return age_warnings(CATALOG, CATALOG.find_model(model), day)

    newer = "take newer tables with tunepipe tables --update"
    assert warnings(QWEN, "2026-08-21") == (
        f"price of {QWEN}: read on 2026-08-21, 91 days ago; {newer}",
    )
    assert warnings(QWEN, "2026-05-01") == ()
    assert len(warnings("gemini-3.5-flash", "2027-03-01")) == 3
    custom, day = CATALOG.find_model("Qwen/Qwen3-4B", "custom"), date(2026, 11, 26)
    assert age_warnings(CATALOG, custom, day, "NVIDIA_H100_80GB") == (
        f"price of NVIDIA_H100_80GB: read on 2025-03-06, 630 days ago; {newer}",
    )
    assert age_warnings(CATALOG, custom, date(2026, 11, 1), "NVIDIA_L4") == ()
    assert age_warnings(CATALOG, CATALOG.find_model("tiny"), date(2099, 1, 1)) == ()


def test_the_version_changes_with_every_value():
    own = load_catalog({"prices": {"judge": {"tokens_a_reply": 501}}})
    assert tables_version(own) != tables_version(CATALOG) == tables_version(load_catalog())
    assert tables_version(own).startswith(CATALOG.model_table.read)
