"""The report: whole from whatever facts there are, and nothing in it but what we put there."""

from __future__ import annotations

import base64
import copy
import hashlib
import math
import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fixtures.pages import HOSTILE, Page, hostile_facts, sample_facts
from tunepipe.reporting.answers import row_groups
from tunepipe.reporting.facts import Estimate, Facts, RowFacts, fitting, read_facts
from tunepipe.reporting.formatting import clean
from tunepipe.reporting.report import report_page
from tunepipe.reporting.sections import judge_view, training_pairs
from tunepipe.reporting.summary import summary

BARE = {"title": "A run", "verdict": "worse", "reason": "It lost."}
OPTIONAL = sorted(set(sample_facts(0)) - set(BARE))


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in nested facts."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    return [at] * bool(at) + [
        path
        for key, child in inner
        for path in (paths(child, (*at, key)) if isinstance(child, (dict, list)) else [(*at, key)])
    ]


PLACES = paths(sample_facts(2))
ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters())),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


def test_the_sample_report_says_the_essential_numbers():
    facts = sample_facts()
    page = Page(report_page(facts))
    comparison = facts["comparisons"]["base"]
    for text in (
        facts["title"],
        "The tuned model is better.",
        facts["reason"],
        facts["dataset"]["fingerprint"],
        facts["tuning"]["statistics"]["note"],
        f"{100 * comparison['difference']:+.1f}",
        f"{100 * comparison['low']:+.1f} to {100 * comparison['high']:+.1f}",
        "1 unanswered",
        "object exact",
        "personal_data",
        "Rejected rows",
        "596\u202f049\u202f920",
    ):
        assert text in page.text
    assert len(page.all("svg", role="img")) == 7


def test_a_custom_job_shows_its_machines_hours_and_dollars_next_to_the_plan():
    facts = sample_facts()
    facts["plan"] |= {"estimated_hours": 2.0, "estimated_cost_usd": 12.5}
    facts["tuning"]["cost_usd"] = 9.25
    facts["tuning"]["statistics"] |= {
        "base_revision": "0123abcd",
        "machine_type": "g2-standard-24",
        "accelerator": "NVIDIA_L4:2",
        "machines": 2,
        "provisioning": "spot",
        "job_hours": 1.5,
    }
    rows = dict(training_pairs(read_facts(facts)))
    assert rows["Machines"] == "2 × g2-standard-24 (NVIDIA_L4:2), spot"
    assert (rows["Time estimated"], rows["Time of the job"]) == ("2 h 00 min", "1 h 30 min")
    assert rows["Base revision"] == "0123abcd"
    text = Page(report_page(facts)).text
    for shown in ("$12.50", "$9.25", "1 h 30 min", "g2-standard-24", "0123abcd"):
        assert shown in text


@pytest.mark.parametrize("missing", OPTIONAL)
@pytest.mark.parametrize("as_null", [True, False])
def test_a_missing_part_is_left_out(missing, as_null):
    facts = sample_facts(5)
    if as_null:
        facts[missing] = None
    else:
        del facts[missing]
    page = Page(report_page(facts))
    assert facts["title"] in page.text
    sections = {"rows": "rows", "scores": "", "comparisons": "", "dataset": "", "tuning": ""}
    if sections.get(missing):
        assert not page.all("h2", id=sections[missing])
    assert "None" not in page.text


@pytest.mark.parametrize("only", [None, *OPTIONAL])
def test_one_part_alone_is_a_page(only):
    facts = dict(BARE) if only is None else BARE | {only: sample_facts(3)[only]}
    page = Page(report_page(facts))
    assert "The tuned model is worse." in page.text
    assert "It lost." in page.text


@settings(max_examples=60)
@given(st.sampled_from(PLACES), ANYTHING)
def test_no_wrong_value_breaks_the_page(path, value):
    facts = sample_facts(2)
    place: Any = facts
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = copy.deepcopy(value)
    page = report_page(facts)
    page.encode("utf-8")
    Page(page)


def test_hostile_texts_stay_texts():
    html = report_page(hostile_facts())
    page = Page(html)
    assert not page.all("img")
    assert len(page.all("script")) == 1
    handlers = [key for _, attributes in page.tags for key in attributes if key.startswith("on")]
    assert handlers == []
    for text in (HOSTILE[0], HOSTILE[2], HOSTILE[3], clean(HOSTILE[5])):
        assert text in page.text
    assert "\x00" not in html
    assert len(html) < 2_000_000


def test_texts_of_any_direction_are_kept_apart():
    page = Page(report_page(sample_facts(3) | {"title": HOSTILE[4]}))
    (title,) = page.all("h1")
    assert title["dir"] == "auto"
    assert all(span["dir"] == "auto" for span in page.all("span", **{"class": "text"}))


def test_the_policy_lets_in_our_style_and_script_alone():
    html = report_page(sample_facts(3))
    page = Page(html)
    (policy,) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    rules = dict(rule.split(" ", 1) for rule in (policy["content"] or "").split("; "))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    for kind in ("style", "script"):
        (inline,) = re.findall(rf"<{kind}>(.*?)</{kind}>", html, re.S)
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert rules[f"{kind}-src"] == f"'sha256-{digest}'"
    assert not any("style" in attributes for _, attributes in page.tags)


def test_a_page_without_rows_has_no_script():
    page = Page(report_page(BARE))
    (policy,) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert "script-src 'none'" in (policy["content"] or "")
    assert not page.all("script")


def test_nothing_comes_from_outside():
    html = report_page(sample_facts())
    page = Page(html)
    links = {"src", "href", "action", "data", "srcset", "xlink:href"}
    assert not any(links & attributes.keys() for _, attributes in page.tags)
    assert "url(" not in html
    assert "@import" not in html


def test_headings_go_down_one_level_at_a_time_and_names_are_unique():
    page = Page(report_page(sample_facts()))
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    names = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(names) == len(set(names))
    wanted = {
        name
        for _, attributes in page.tags
        for key in ("aria-labelledby", "aria-describedby")
        for name in (attributes.get(key) or "").split()
    }
    assert wanted <= set(names)


def test_every_table_has_a_caption_and_every_head_a_scope():
    html = report_page(sample_facts())
    tables = re.findall(r"<table.*?</table>", html, re.S)
    assert tables
    assert all("<caption>" in table for table in tables)
    assert all(head.get("scope") in ("row", "col") for head in Page(html).all("th"))


@pytest.mark.parametrize(
    ("verdict", "sentence", "kind"),
    [
        ("better", "The tuned model is better.", "better"),
        ("worse", "The tuned model is worse.", "worse"),
        ("not-enough-evidence", "There is not enough evidence", "not-enough-evidence"),
        ("odd", "odd", "unknown"),
        ("", "No verdict was reached.", "unknown"),
    ],
)
def test_each_verdict_is_a_sentence(verdict, sentence, kind):
    page = Page(report_page(BARE | {"verdict": verdict}))
    assert sentence in page.text
    assert page.all("section", **{"class": f"verdict {kind}"})


def test_the_champion_decides_where_there_is_one():
    facts = sample_facts(3)
    facts["scores"]["champion"] = copy.deepcopy(facts["scores"]["base"])
    facts["scores"]["champion"]["metrics"]["object_exact"]["value"] = 0.777
    facts["comparisons"]["champion"] = facts["comparisons"]["base"] | {"more_rows": [250, 900]}
    page = Page(report_page(facts))
    assert "Points against champion" in page.text
    assert "champion 77.7" in page.text
    assert "250 to 900 more held-out rows would show such a difference" in page.text
    names = [svg["aria-labelledby"] for svg in page.all("svg", role="img")]
    assert names[:2] == ["differences-champion-title", "differences-base-title"]


def test_the_differences_of_every_metric_are_drawn_wherever_they_stand():
    facts = sample_facts(0)
    page = Page(report_page(facts))
    differences = facts["scores"]["tuned"].pop("differences")
    assert "field accuracy +2.5" in page.text
    alone = Page(report_page(facts))
    assert "field accuracy +2.5" not in alone.text
    facts["comparisons"]["base"]["differences"] = differences
    assert Page(report_page(facts)).text == page.text


def test_classes_and_their_confusion_are_shown():
    facts = sample_facts(0)
    classes = [
        {"label": f"class {n}", "support": 5, "precision": 0.5, "recall": 0.25, "f1": 1 / 3}
        for n in range(20)
    ]
    matrix = [[5 * (row == column) for column in range(20)] for row in range(20)]
    matrix[19][0] = 3
    matrix[17][16:18] = 2, 3
    labels = [line["label"] for line in classes]
    facts["scores"]["tuned"] |= {
        "classes": classes,
        "confusion": {"labels": labels, "matrix": matrix},
    }
    html = report_page(facts)
    page = Page(html)
    assert "33.3" in page.text
    assert "class 17" in page.text
    # Twelve lines at most: the largest classes, and the nine others as one, whose errors among
    # each other are not on the diagonal.
    cells = re.findall(r'<td class="n (good|bad) share-(\d)">(\d+)</td>', html)
    assert len(cells) == 12 * 13
    # The largest class comes first; each cell is as dark as its share of the row.
    assert cells[0] == ("good", "6", "5")
    assert ("bad", "3", "3") in cells[:12]
    assert cells[-2:] == [("good", "9", "43"), ("bad", "0", "2")]
    assert "(others, wrong)" in page.text
    assert "The 9 smallest classes are merged." in page.text


def test_a_matrix_that_is_not_square_is_left_out():
    facts = sample_facts(0)
    facts["scores"]["tuned"]["confusion"] = {"labels": ["a", "b"], "matrix": [[1, 2]]}
    assert "Confusion matrix" not in Page(report_page(facts)).text


def row(number: int, **values: Any) -> dict[str, Any]:
    texts = {"input": "in", "reference": "out", "tuned": "out", "base": "out", "flip": ""}
    return {"id": str(number), **texts, **values}


def groups_of(rows: list[dict[str, Any]], **settings: int) -> dict[str, Any]:
    return row_groups(fitting(rows, list[RowFacts]), **settings)


@pytest.mark.parametrize("value", [math.nan, math.inf, "0.5", True, None, 10**400, [], {}])
def test_a_value_that_is_no_number_is_left_out(value):
    scores = {"tuned": {"metrics": {"bad": {"value": value, "low": 0, "high": 1},
                                    "good": {"value": 0.5, "low": 0, "high": 1}}}}  # fmt: skip
    facts = read_facts({"title": "kept", "scores": scores, "plan": {"rows": value}})
    assert facts.title == "kept"
    assert facts.scores["tuned"].metrics == {"good": Estimate(0.5, 0.0, 1.0)}
    assert facts.plan.rows is None


def test_facts_that_are_typed_already_are_themselves():
    facts = Facts(title="A run")
    assert read_facts(facts) is facts


def test_changed_rows_come_first_and_the_cap_is_said():
    rows = [row(number) for number in range(30)]
    rows[11]["flip"], rows[5]["flip"], rows[20]["tuned"] = "fixed", "broken", None
    view = groups_of(rows, most=10)
    assert (view["shown"], view["total"]) == (10, 30)
    found = {group["kind"]: [r["id"] for r in group["rows"]] for group in view["groups"]}
    assert [found[kind][0] for kind in ("broken", "fixed", "unanswered", "other")] == [
        "5", "11", "20", "0",
    ]  # fmt: skip
    assert [group["total"] for group in view["groups"]] == [1, 1, 1, 27]


def test_the_page_says_how_many_rows_it_shows():
    facts = BARE | {"rows": [row(number) for number in range(1200)]}
    page = Page(report_page(facts))
    assert "1\u202f000 of 1\u202f200 rows are on this page, changed ones first." in page.text
    assert len(page.all("li", **{"class": "row"})) == 1000


@pytest.mark.parametrize(
    ("answer", "reference", "state", "marks"),
    [
        ("the same", "the same", "same", []),
        ("", "", "same", []),
        (None, "x", "unanswered", []),
        ("a red cat", "a blue cat", "other", ["same", "removed", "added", "same"]),
        ("nothing", "全く違う", "other", ["same"]),
        ("an answer", "", "other", ["same"]),
        ("", "wanted", "empty", []),
    ],
)
def test_answers_are_marked_against_the_reference(answer, reference, state, marks):
    (group,) = groups_of([row(1, tuned=answer, reference=reference, base=None)])["groups"]
    (shown,) = group["rows"][0]["answers"]
    assert shown["state"] == state
    assert [piece.kind for piece in shown["pieces"] if piece.text] == marks


def test_long_texts_are_cut_and_say_so():
    (group,) = groups_of([row(1, input="x" * 10_000, tuned="y" * 9_000)])["groups"]
    shown = group["rows"][0]
    assert shown["input"] == ("x" * 4000, 6000)
    assert shown["answers"][0]["left_out"] == 5000


def test_changed_rows_keep_longer_texts_than_the_others():
    rows = [row(n, input="x" * 5000, flip="fixed" if n < 100 else "") for n in range(1100)]
    limits = {group["kind"]: len(group["rows"][0]["input"][0]) for group in
              groups_of(rows)["groups"]}  # fmt: skip
    assert limits == {"fixed": 1600, "other": 200}


def test_the_report_is_whole():
    html = report_page(sample_facts(3))
    assert html.startswith("<!doctype html>")
    assert html.rstrip().endswith("</html>")


def test_prompts_that_must_not_get_worse_have_their_place():
    facts = sample_facts()
    guard = {**facts["comparisons"]["base"], "verdict": "worse", "wins": 0, "losses": 25}
    facts["comparisons"]["guard"] = guard
    page = report_page(facts)
    assert "against base on guarded prompts" in page
    assert "25" in page
    assert len(re.findall(r'id="([^"]*)"', page)) == len(set(re.findall(r'id="([^"]*)"', page)))
    assert not re.findall(r'id="[^"]*\s[^"]*"', page)


def test_the_judge_is_shown_with_its_model_prompt_and_cost():
    facts = sample_facts(0)
    page = Page(report_page(facts))
    said = facts["judge"]["comparison"]
    assert page.all("h2", id="judge")
    for text in (
        "gemini-3.5-flash",
        "the tuned model is better",
        "42 of 52 rows asked",
        "$0.50",
        "What stands between the marks is material to be judged",
    ):
        assert text in page.text
    pairs = dict(judge_view(read_facts(facts).judge)["pairs"])
    shown = [pairs[name] for name in ("Wins of the tuned model", "Losses", "Ties")]
    assert shown == [str(said[key]) for key in ("wins", "losses", "ties")]


def test_a_judge_that_was_not_asked_says_why():
    judge = {"model": "m", "refused": "above the <b>ceiling</b>"}
    html = report_page(BARE | {"judge": judge})
    assert "It gave no judgement: above the &lt;b&gt;ceiling&lt;/b&gt;" in html
    assert "Wins of the tuned model" not in html


@pytest.mark.parametrize("judge", [None, {}, {"model": "m"}, {"comparison": {"wins": None}}, 3])
def test_little_is_known_of_a_judge(judge):
    page = Page(report_page(BARE | {"judge": judge}))
    assert "None" not in page.text
    assert bool(page.all("h2", id="judge")) == bool(isinstance(judge, dict) and judge)


def test_what_the_verdict_does_not_show_is_one_line_made_from_the_numbers():
    facts = sample_facts(0)
    tuned = facts["scores"]["tuned"]
    tuned["differences"]["macro_f1"] = {"value": -0.227, "low": -0.3, "high": -0.1}
    tuned["classes"] = [{"label": "fraud", "support": 50, "f1": 0.0}]
    facts["scores"]["base"]["classes"] = [{"label": "fraud", "support": 50, "f1": 0.9}]
    tuned["look"] = 3
    facts["comparisons"]["base"] |= {"groups": 40, "missing_tuned": 5}
    page = Page(report_page(facts))
    for clause in (
        "What this does not show:",
        "the other way: macro f1 \u221222.7",
        "never right any more: fraud",
        "missing answers (tuned and other): 5 and 0, as wrong",
        "only 40 of 96 rows are independent",
        "points may stay unseen",
        "these rows have decided 3 times",
    ):
        assert clause in page.text
    assert "fraud, tuned 0.0; fraud, base 90.0" in page.text, "base is drawn next to tuned"
    facts["comparisons"] = {}
    assert "What this does not show" not in Page(report_page(facts)).text


def test_arguments_of_calls_are_parts_of_an_answer_as_fields_are():
    facts = sample_facts(0)
    facts["scores"]["tuned"]["task"] = "calls"
    for model, share in (("tuned", 0.0), ("base", 0.9)):
        estimate = {"value": share, "low": share, "high": share}
        facts["scores"][model]["metrics"]["argument:weather.city"] = estimate
    page = Page(report_page(facts))
    assert "never right any more: weather.city;" in page.text
    assert "Right values in each argument, out of 100" in page.text
    assert "weather.city, tuned 0.0 (0.0 to 0.0); weather.city, base 90.0" in page.text
    assert "argument:" not in page.text, "parts are not in the table of whole answers' metrics"
    for score in (facts["comparisons"]["base"], facts["scores"]["tuned"]):
        score["metric"] = "argument:weather.city"
        assert "| argument:weather.city | **0.0** (0.0–0.0) |" in summary(facts)
        facts["comparisons"] = {}


def test_slices_and_what_an_answer_takes_are_tables():
    facts = sample_facts(0)
    score = {"value": 0.5, "low": 0.4, "high": 0.6}
    comparison = {"difference": -0.2, "low": -0.3, "high": -0.1, "smallest_difference": 0.3}
    facts["scores"]["tuned"]["slices"] = [
        {"field": "language", "value": "ja", "rows": 40, "score": score, "comparison": comparison,
         "p_adjusted": 0.004, "verdict": "worse"},
        {"field": "language", "value": "<b>", "rows": 4, "score": score, "comparison": comparison,
         "p_adjusted": 0.9, "verdict": "not-enough-evidence"},
    ]  # fmt: skip
    facts["scores"]["tuned"]["serving"] = {"latency_p95_ms": 812.4, "cost_usd": 0.00123}
    text = Page(report_page(facts)).text
    for words in ("language=ja", "p = 0.004", "shows 30.0 or more", "language=<b>"):
        assert words in text
    assert "812.4" in text
    assert "0.00123" in text


def test_an_empty_answer_is_seen_as_empty():
    row = {"id": "1", "input": "q", "reference": "yes", "tuned": "", "base": "yes", "flip": ""}
    (group,) = groups_of([row])["groups"]
    assert [answer["state"] for answer in group["rows"][0]["answers"]] == ["empty", "same"]
    assert "(empty)" in Page(report_page(BARE | {"rows": [row]})).text
