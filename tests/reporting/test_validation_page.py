"""The validation page: every kind of problem, counted, with its first places, and no row's text."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fixtures.pages import HOSTILE, Page, sample_facts
from tunepipe.reporting.facts import Dataset, fitting
from tunepipe.reporting.validation_page import data_view, validation_page


def view(report: dict[str, Any]) -> dict[str, Any]:
    return data_view(fitting(report, Dataset))


def problem(line: int, code: str, level: str = "error", **values: str) -> dict[str, Any]:
    texts = {"field": "output_text", "message": f"found on {line}", "fix": "add it"}
    return {"line": line, "code": code, "level": level, **texts, **values}


def report(*problems: dict[str, Any], **values: Any) -> dict[str, Any]:
    facts = sample_facts(0)["dataset"]
    counts: dict[str, int] = {}
    for each in problems:
        counts[each["code"]] = counts.get(each["code"], 0) + 1
    own = {"problems": list(problems), "counts": counts, "problems_total": len(problems)}
    return {**facts, **own, **values}


@pytest.mark.parametrize(
    ("problems", "kind", "sentence"),
    [
        ([], "better", "The data passed: no problem in 600 rows."),
        (
            [problem(3, "bom", "warning")],
            "better",
            "The data passed, with 1 warning in 600 rows.",
        ),
        (
            [problem(3, "bom", "warning"), problem(4, "not-json"), problem(5, "not-json")],
            "worse",
            "The data did not pass: 2 errors in 600 rows.",
        ),
    ],
)
def test_the_verdict_is_one_sentence(problems, kind, sentence):
    page = Page(validation_page(report(*problems)))
    assert sentence in page.text
    assert page.all("section", **{"class": f"verdict {kind}"})
    assert bool(page.all("h2", id="problems")) == bool(problems)


def test_errors_of_which_none_is_listed_are_counted():
    counts = {"bom": 1, "not-json": 4}
    facts = report(problem(3, "bom", "warning"), counts=counts, problems_total=5, errors=4)
    page = Page(validation_page(facts))
    assert "The data did not pass: 4 errors in 600 rows." in page.text
    assert page.all("section", **{"class": "verdict worse"})


def test_every_listed_problem_is_on_the_page_a_hundred_at_a_time():
    problems = [problem(n, "not-json") for n in range(1, 251)]
    facts = report(*problems, counts={"not-json": 300}, problems_total=300)
    page = Page(validation_page(facts))
    assert len(page.all("table", **{"class": "examples"})) == 3
    assert all(f"found on {n}" in page.text for n in (1, 100, 101, 250))
    assert "The first 250 of 300" in page.text
    assert page.all("a", href="#not-json")


def test_problems_are_grouped_errors_first_then_by_number():
    problems = [problem(n, "duplicate-row", "warning") for n in range(50, 90)]
    problems += [problem(7, "bom"), problem(2, "not-json"), problem(9, "not-json")]
    groups = view(report(*problems))["problems"]
    assert [(g["code"], g["total"], len(g["examples"])) for g in groups] == [
        ("not-json", 2, 2),
        ("bom", 1, 1),
        ("duplicate-row", 40, 5),
    ]


def test_counts_are_right_where_the_list_was_cut():
    cut = report(problem(1, "not-json"), counts={"not-json": 5000, "bom": 1}, problems_total=5001)
    shown = view(cut)
    assert shown["problems_total"] == 5001
    page = Page(validation_page(cut))
    assert "The first 1 of 5\u202f000" in page.text


def test_one_fix_for_all_is_said_once_and_others_beside_their_line():
    same = Page(validation_page(report(problem(1, "a"), problem(2, "a"))))
    assert same.text.count("add it") == 1
    other = Page(validation_page(report(problem(1, "a"), problem(2, "a", fix="drop it"))))
    assert other.text.count("add it") == other.text.count("drop it") == 1


def test_the_data_are_drawn():
    data = report()
    data["stats"]["labels"] = {"positive": 300, "negative": 200}
    page = Page(validation_page(data))
    assert len(page.all("svg", role="img")) == 4
    for text in ("median 52, 95 % up to 94, longest 113", "Labels, rows of each", "158 KB"):
        assert text in page.text


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (999, "999 B"),
        (999_400, "999 KB"),
        (999_700, "1 MB"),
        (73_400_000, "73.4 MB"),
        (1_234_567_890_123, "1.23 TB"),
    ],
)
def test_a_size_is_said_in_three_digits(size, shown):
    assert ("Size", shown) in view({"bytes": size})["facts"]


def test_a_distribution_of_one_bar_is_said_and_not_drawn():
    data = report()
    data["stats"]["output_characters"] |= {"histogram": [[100, 600]]}
    page = Page(validation_page(data))
    assert "Characters of the output" in page.text
    assert len(page.all("svg", role="img")) == 2


def test_a_sample_and_what_is_not_drawn_are_said():
    data = report()
    data["stats"]["languages"] = {f"l{n:02}": 10 for n in range(15)}
    page = Page(validation_page(data))
    assert "Languages, rows of each, in a sample of 150 (3 more not drawn)" in page.text


def test_hostile_texts_stay_texts():
    names = dict.fromkeys(HOSTILE, 2)
    problems = [problem(n, code, message=code, fix=code) for n, code in enumerate(HOSTILE)]
    data = report(*problems, path=HOSTILE[1], format=HOSTILE[2])
    data["stats"] |= {"labels": names, "languages": names}
    page = Page(validation_page(data))
    assert not page.all("script")
    assert not page.all("img")
    assert HOSTILE[0] in page.text


@pytest.mark.parametrize("missing", [*report(), "every one"])
def test_a_missing_part_is_left_out(missing):
    data = {} if missing == "every one" else {k: v for k, v in report().items() if k != missing}
    assert "The data passed: no problem" in Page(validation_page(data)).text
