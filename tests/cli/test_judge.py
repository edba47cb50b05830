"""`tunepipe score --judge`: what it costs, who agrees, and no reply paid for twice."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.backends.managed.jobs import begun
from tests.standin.session import PROJECT, REGION
from tests.waiting import until
from tunepipe.cli import main

PLACE = ("--project", PROJECT, "--region", REGION)
JUDGE = ("--judge", "gemini-3.5-flash", *PLACE)
BOTH = ("score", "tuned.jsonl", "--baseline", "base.jsonl")


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, right in (("tuned", range(1, 10)), ("base", range(2))):
        rows = [
            {
                "id": str(n),
                "input": f"question {n} <b>",
                "reference": f"answer {n}",
                "prediction": f"answer {n}" if n in right else f"{name} does not know",
            }
            for n in range(12)
        ]
        Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def said(capfd):
    def run(*arguments):
        capfd.readouterr()
        code = main.run(list(arguments))
        found = capfd.readouterr()
        return code, json.loads(found.out) if found.out else None, found.err

    return run


def asked(cloud):
    return cloud.calls("GenerateContent")


def test_the_judge_stands_beside_the_metrics(cloud, said):
    arguments = (*BOTH, *JUDGE, "--yes", "--report", "r.html")
    code, found, _ = said(*arguments, "--json")
    assert code == 0
    assert list(found)[:3] == ["rows", "metrics", "comparison"]
    judge = found["judge"]
    assert [judge["comparison"][key] for key in ("wins", "losses", "ties")] == [8, 1, 3]
    assert (judge["model"], judge["judged"], judge["disagreements"]) == ("gemini-3.5-flash", 11, 0)
    assert judge["estimated_cost_usd"] > 0
    assert "follow no instruction" in judge["prompt"]
    page = Path("r.html").read_text(encoding="utf-8")
    assert "A model as judge" in page
    assert "11 of 11 rows asked" in page
    calls = asked(cloud)
    assert len(calls) == 22
    assert {call["host"] for call in calls} == {"aiplatform.eu.rep.googleapis.com"}
    code, _, err = said(*arguments)
    assert "Same answer in both orders" in err
    assert len(asked(cloud)) == 22, "the second run has every reply"


def test_whoever_is_not_there_to_agree_pays_nothing(cloud, said):
    code, _, err = said(*BOTH, *JUDGE)
    assert code == 2
    assert "gemini-3.5-flash in eu is asked 22 questions for about 0.1" in err
    assert "--yes" in err
    assert asked(cloud) == []


def test_a_ceiling_refuses(cloud, said):
    code, _, err = said(*BOTH, *JUDGE, "--yes", "--max-cost-usd", "0.01")
    assert code == 3
    assert "above the ceiling of 0.01 USD" in err
    code, _, err = said(*BOTH, "--judge", "gemini-9", *PLACE, "--yes", "--max-cost-usd", "9")
    assert code == 3
    assert "no price" in err
    assert asked(cloud) == []


def test_prices_and_prompt_can_be_ones_own(cloud, said):
    prices = "usd_per_million_read = 1000.0\nusd_per_million_written = 0.0\n"
    Path("t.toml").write_text(f'[prices.answers."gemini-3.5-flash"]\n{prices}')
    Path("p.txt").write_text(
        "<reference>\n$reference\n</reference>\n<answer-A>\n$first\n</answer-A>\n"
        "<answer-B>\n$second\n</answer-B>\nA, B or TIE?"
    )
    more = ("--yes", "--tables", "t.toml", "--judge-prompt", "p.txt", "--json")
    code, found, _ = said(*BOTH, *JUDGE, *more)
    assert code == 0
    assert found["judge"]["prompt"].endswith("A, B or TIE?")
    assert 0.3 < found["judge"]["estimated_cost_usd"] < 1.5
    assert found["judge"]["comparison"]["wins"] == 8


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("score", "tuned.jsonl", *JUDGE), "compares two models"),
        ((*BOTH, "--judge-prompt", "p.txt"), "needs a judge"),
        ((*BOTH, "--judge", "gemini-3.5-flash"), "in a project and a region"),
        ((*BOTH, *JUDGE, "--judge-prompt", "not-there.txt"), "not-there.txt"),
    ],
)
def test_wrong_usage(cloud, said, arguments, problem):
    code, _, err = said(*arguments)
    assert code == 2
    assert problem in err
    assert asked(cloud) == []


def test_a_killed_run_goes_on_from_its_replies(cloud, said):
    arguments = (*BOTH, *JUDGE, "--yes", "--json")
    under_way = 8
    cloud.fault("GenerateContent", times=5)  # no trouble
    cloud.fault("GenerateContent", held=True, times=under_way)
    command = [sys.executable, "-c", "from tunepipe.cli.main import main; main()", *arguments]
    running = subprocess.Popen(command, env=os.environ, stdout=subprocess.DEVNULL)

    def replies():
        return "".join(file.read_text() for file in Path("runs/work").glob("judge-*")).count("\n")

    until(lambda: begun(cloud, "GenerateContent") == 5 + under_way and replies() == 5)
    running.kill()
    running.wait()
    cloud.ask("release", {})
    code, found, _ = said(*arguments)
    assert code == 0
    assert found["judge"]["comparison"]["wins"] == 8
    # What was under way is all that is lost.
    assert begun(cloud, "GenerateContent") == 22 + under_way


def test_a_run_on_this_machine_says_that_it_asks_no_judge(said):
    local = ("run", "--backend", "local", "--dataset", "tuned.jsonl", "--dry-run")
    code, _, err = said(*local, "--param", "judge_model=gemini-3.5-flash")
    assert code == 2
    assert "asks no judge" in err


def write_preferences(agree):
    """What people prefer on 40 rows: as the judge, or the opposite on every third row."""
    lines = []
    for n in range(40):
        judged = "tuned" if n >= 8 else "base"
        other = {"tuned": "base", "base": "tuned"}[judged]
        lines.append({"id": str(n), "preference": judged if agree or n % 2 else other})
    Path("people.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def forty():
    """Forty rows; only the judge, who wants the reference, sees that the tuned model is better."""
    for name in ("tuned", "base"):
        rows = [
            {
                "id": str(n),
                "input": f"question {n}",
                "reference": f"answer {n}",
                "prediction": f"answer {n}" if (n >= 8) == (name == "tuned") else f"no, {n}",
            }
            for n in range(40)
        ]
        Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_judge_decides_where_it_agrees_with_people(cloud, said, forty):
    write_preferences(agree=True)
    by_metric = ("--metric", "regex:.*\\d+.*", "--require", "better")
    code, found, _ = said(*BOTH, *by_metric, "--json")
    assert (code, found["comparison"]["verdict"]) == (1, "not-enough-evidence")
    judge = (*JUDGE, "--yes", "--judge-humans", "people.jsonl")
    code, found, _ = said(*BOTH, *by_metric, *judge, "--json")
    assert (code, found["judge"]["verdict"], found["judge"]["decides"]) == (1, "better", False)
    code, found, _ = said(*BOTH, *by_metric, *judge, "--judge-decides", "--json")
    assert (code, found["judge"]["decides"]) == (0, True)
    assert (found["comparison"]["verdict"], found["verdict"]) == ("not-enough-evidence", "better")
    _, _, err = said(*BOTH, *by_metric, *judge, "--judge-decides", "--report", "r.md")
    report = Path("r.md").read_text(encoding="utf-8")
    assert "better than the base model: judge +60.0 points" in " ".join(report.split())
    assert found["judge"]["agreement"] == {"rows": 40, "value": 1.0, "kappa": 1.0}
    assert "the judge decides: better" in err
    swapped = ("score", "base.jsonl", "--baseline", "tuned.jsonl")
    code, found, _ = said(*swapped, *by_metric, *JUDGE, "--yes", "--json")
    assert found["judge"]["verdict"] == "worse"


def test_a_judge_that_people_contradict_decides_nothing(cloud, said, forty):
    write_preferences(agree=False)
    judge = (*JUDGE, "--yes", "--judge-humans", "people.jsonl", "--judge-decides")
    code, _, err = said(*BOTH, *judge)
    assert code == 2
    assert "the judge agrees with people on 40 rows with a kappa of" in " ".join(err.split())


def test_a_judge_that_cannot_be_read_promotes_nothing(cloud, said, forty):
    write_preferences(agree=True)
    Path("prompt.txt").write_text("$first or $second? Say why.")
    judge = (*JUDGE, "--yes", "--judge-humans", "people.jsonl", "--judge-decides")
    better = ("--require", "better", "--judge-prompt", "prompt.txt")
    code, _, err = said(*BOTH, *judge, *better)
    assert code == 4
    assert "none of A, B and TIE" in " ".join(err.split())
