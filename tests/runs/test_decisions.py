"""What decides, through whole runs: metrics of one's own, and a champion that knows its rows."""

import json
from pathlib import Path

import pytest

from tunepipe.data import predictions
from tunepipe.evaluation.score import evaluate
from tunepipe.registry import champions, records
from tunepipe.runs import local

pytestmark = pytest.mark.usefixtures("warm_steps")
ROOT = Path(__file__).parents[2]
QUICK = {"base_model": "tiny", "train_steps": 120, "max_output_tokens": 48, "eval_min": 20}
CODE = "def opens(prediction, reference):\n    return float(prediction.startswith('{'))\n"
BRACE = r"regex:\{.*"
SCHEMA = json.dumps({"type": "object", "required": ["customer"]})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One folder of runs: the tuning is done once, and found again by the others."""
    place = tmp_path_factory.mktemp("runs")
    lines = (ROOT / "examples" / "orders.jsonl").read_text(encoding="utf-8").splitlines()
    (place / "orders.jsonl").write_text("\n".join(lines[:80]) + "\n", encoding="utf-8")
    return place


def run(folder, registry, **parameters):
    dataset = {"dataset_uri": str(folder / "orders.jsonl"), "registry": str(folder / registry)}
    found = local.run_local({**dataset, **QUICK, **parameters}, runs_folder=folder / "runs")
    assert found.state == "succeeded", found.reason
    return found


def rows_of(done, name):
    tuned = Path(done.results["predictions/tuned.jsonl"])
    return predictions.read(tuned.with_name(f"{name}.jsonl"))


# The tiny model has learnt that an answer is a JSON object, and none of its numbers; untuned it
# answers nothing.
@pytest.mark.parametrize(
    ("metric", "code", "verdict"),
    [
        ("mine:opens", CODE, "better"),
        ("schema:order.json", SCHEMA, "better"),
        ("number:0.5", "", "not-enough-evidence"),
    ],
)
def test_a_metric_of_ones_own_decides_a_whole_run(folder, metric, code, verdict):
    scoring = {"metric_code": code} if code else {}
    done = run(folder, metric.partition(":")[0], metric=metric, scoring=scoring)
    assert (done.verdict, metric in done.reason) == (verdict, True)
    again = evaluate(rows_of(done, "tuned"), rows_of(done, "base"), metric=metric, metric_code=code)
    assert again.comparison.verdict == verdict
    assert metric in Path(done.results["report.html"]).read_text(encoding="utf-8")


def test_a_champion_is_not_compared_on_rows_that_it_was_trained_on(folder):
    """The second run holds out other rows of the same data, most of which the champion knows."""
    first = run(folder, "weekly", metric=BRACE)
    assert (first.verdict, BRACE in first.reason) == ("better", True)
    registry = str(folder / "weekly")
    (move,) = champions.history(registry)
    learnt = records.read_trained_rows(records.find_trained_rows(registry, move.run))
    assert len(learnt) == 60
    second = run(folder, "weekly", metric=BRACE, seed=1)
    assert second.verdict == "not-enough-evidence"
    known = sum(row.hash in learnt for row in rows_of(second, "tuned"))
    assert 10 <= known < 20
    said = f"{known} rows left out, because that model was trained on them; too few rows are left"
    assert said in second.reason
    page = Path(second.results["report.html"]).read_text(encoding="utf-8")
    assert f"{known} rows left out, because the champion was trained on them" in page
    assert [each.run for each in champions.history(registry)] == [move.run]
    files = sorted((folder / "weekly" / "looks").iterdir())  # the older one first
    assert [json.loads(file.read_text())["run"] for file in files] == [first.id, second.id]
