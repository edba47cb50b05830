"""The judge as a step of a pipeline: what it writes, and when it asks nobody."""

import json
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from tests.standin.process import StandIn
from tests.standin.session import PROJECT, REGION
from tunepipe.catalog.catalog import load_catalog
from tunepipe.data.predictions import Prediction, write
from tunepipe.errors import LimitError
from tunepipe.evaluation.judge import UnreadableJudgeError
from tunepipe.steps.judging import _left, judge_step, location_of

ROWS = 12
PLACE = {"project": PROJECT, "region": REGION, "prompt": "", "catalog": load_catalog()}


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    for name, right in (("tuned", 10), ("base", 1)):
        answers = [f"answer {n}" if n < right else f"{name} errs" for n in range(ROWS)]
        rows = (Prediction(str(n), "q", f"answer {n}", said) for n, said in enumerate(answers))
        write(rows, tmp_path / name)
    return {name: dsl.Artifact(uri=str(tmp_path / name)) for name in ("tuned", "base")}


def judged(given, folder: Path, plan: dict[str, Any] | None = None, **changes: Any) -> tuple:
    file = None
    if plan is not None:
        (folder / "plan").write_text(json.dumps(plan))
        file = dsl.Artifact(uri=str(folder / "plan"))
    settings = {"model": "gemini-3.5-flash", "max_cost_usd": 0.0, "work_dir": "", **PLACE}
    verdict = judge_step(given, file, str(folder / "judgement"), **{**settings, **changes})
    text = (folder / "judgement").read_text()
    return verdict, json.loads(text) if text else None


def test_it_judges_and_keeps_its_replies(cloud: StandIn, given, tmp_path):
    verdict, found = judged(given, tmp_path)
    assert verdict == "better"
    assert [found["comparison"][key] for key in ("wins", "losses", "ties")] == [9, 0, 3]
    assert len(cloud.calls("GenerateContent")) == 22
    assert judged(given, tmp_path) == (verdict, found)
    assert len(cloud.calls("GenerateContent")) == 22


def test_the_champion_is_judged_too(cloud: StandIn, given, tmp_path):
    rows = [Prediction(str(n), "q", f"answer {n}", f"answer {n}") for n in range(ROWS)]
    write(rows, tmp_path / "champion")
    champion = dsl.Artifact(uri=str(tmp_path / "champion"))
    verdict, found = judged({**given, "champion": champion}, tmp_path)
    assert (verdict, found["verdict"]) == ("better", "better")
    counts = [found["champion"]["comparison"][key] for key in ("wins", "losses", "ties")]
    assert counts == [0, 2, 10]
    assert found["champion"]["verdict"] == "not-enough-evidence"


def test_no_judge_or_no_answers_is_an_empty_file(cloud: StandIn, given, tmp_path):
    assert judged(given, tmp_path, model="") == ("", None)
    (tmp_path / "base").write_text("")
    assert judged(given, tmp_path) == ("", None)
    assert cloud.calls("GenerateContent") == []


@pytest.mark.parametrize(
    ("ceiling", "planned", "why"),
    [
        (5.0, 5.0, "leave nothing"),
        (5.0, 4.999, "above the ceiling of 0.001 USD"),
        (0.01, None, "above the ceiling of 0.01 USD"),
    ],
)
def test_a_ceiling_ends_no_run_whose_tuning_is_paid(cloud, given, tmp_path, ceiling, planned, why):
    plan = {"estimated_cost_usd": planned}
    verdict, found = judged(given, tmp_path, plan, max_cost_usd=ceiling)
    assert verdict == ""
    assert found["model"] == "gemini-3.5-flash"
    assert why in found["refused"]
    assert cloud.calls("GenerateContent") == []


def test_both_judgements_share_a_ceiling(cloud: StandIn, given, tmp_path):
    rows = [Prediction(str(n), "q", f"answer {n}", "another errs") for n in range(ROWS)]
    write(rows, tmp_path / "champion")
    given = {**given, "champion": dsl.Artifact(uri=str(tmp_path / "champion"))}
    _, found = judged(given, tmp_path)
    cost = found["estimated_cost_usd"]
    assert cost / 2 < found["champion"]["estimated_cost_usd"] < 2 * cost
    (tmp_path / "other").mkdir()
    _, found = judged(given, tmp_path, work_dir=str(tmp_path / "other"), max_cost_usd=1.5 * cost)
    assert found["verdict"] == "better"
    assert "above the ceiling" in found["champion"]["refused"]


@pytest.mark.parametrize(
    ("ceiling", "plan", "spent", "left"),
    [
        (0.0, {"estimated_cost_usd": 9.0}, 1.0, 0.0),
        (5.0, None, 0.0, 5.0),
        (5.0, {}, 1.0, 4.0),
        (5.0, {"estimated_cost_usd": 2.0, "evaluation_cost_usd": 1.5}, 1.0, 0.5),
        (5.0, {"estimated_cost_usd": None, "evaluation_cost_usd": 1.5}, 0.0, 3.5),
        (5.0, {"estimated_cost_usd": 2.0, "evaluation_cost_usd": 3.0}, 0.0, None),
        (5.0, {}, 5.5, None),
    ],
)
def test_what_is_left_of_a_ceiling(tmp_path, ceiling, plan, spent, left):
    (tmp_path / "plan").write_text(json.dumps(plan))
    file = "" if plan is None else str(tmp_path / "plan")
    if left is not None:
        assert _left(ceiling, file, spent) == left
        return
    with pytest.raises(LimitError, match="leave nothing of the ceiling of 5"):
        _left(ceiling, file, spent)


def test_a_judge_is_asked_where_the_tables_serve_it():
    catalog = load_catalog()
    assert location_of("gemini-3.5-flash", "europe-west4", catalog) == "eu"
    assert location_of("gemini-3.5-flash", "moon", catalog) == "moon"
    assert location_of("gemini-9", "europe-west4", catalog) == "europe-west4"


def test_the_tuning_and_the_judge_share_a_ceiling(cloud, given, tmp_path):
    verdict, _ = judged(given, tmp_path, {"estimated_cost_usd": 4.0}, max_cost_usd=5.0)
    assert verdict == "better"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, "403"),
        ({"prompt": "which?"}, "not a template of its four fields"),
        ({"project": ""}, "in a project and a region"),
    ],
)
def test_nothing_that_refuses_the_judge_ends_the_step(
    cloud: StandIn, given, tmp_path, changes, why
):
    cloud.fault("GenerateContent", code=403, message="no", times=99)
    verdict, found = judged(given, tmp_path, **changes)
    assert verdict == ""
    assert why in found["refused"]


@pytest.mark.parametrize("must_be_readable", [False, True])
def test_a_judge_that_cannot_be_read_fails_the_step_where_nothing_else_is_paid(
    cloud: StandIn, given, tmp_path, must_be_readable
):
    prompt = "$first or $second? Say why."
    if must_be_readable:
        with pytest.raises(UnreadableJudgeError, match="none of A, B and TIE"):
            judged(given, tmp_path, prompt=prompt, must_be_readable=True)
        return
    verdict, found = judged(given, tmp_path, prompt=prompt)
    assert verdict == ""
    assert "none of A, B and TIE" in found["refused"]
