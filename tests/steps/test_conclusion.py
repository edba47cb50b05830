"""The last step of a run: what it reports, records, promotes and remembers."""

import json

import pytest
from kfp import dsl

from tests.standin.session import REGION
from tunepipe.data.predictions import Prediction, write
from tunepipe.data.rows import read_examples
from tunepipe.distribution import describe_code
from tunepipe.registry import champions, data_history, records
from tunepipe.registry.records import RunOutcome
from tunepipe.steps.comparison import compare_step
from tunepipe.steps.conclusion import conclude_step

ROWS, LEARNT = 60, 20  # held out, and to learn from


@pytest.fixture
def place(tmp_path):
    """The ports of a run whose tuned model is better, over a dataset that is there."""
    lines = [
        json.dumps({"input_text": f"q {n}", "output_text": "yes"}) for n in range(ROWS + LEARNT)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n")
    hashes = [example.hash for example in read_examples(tmp_path / "rows.jsonl")]
    files = {}
    for name, right in (("tuned", 50), ("base", 10)):
        rows = (
            Prediction(str(n), f"q {n}", "yes", "yes" if n < right else "no", hash=hashes[n])
            for n in range(ROWS)
        )
        write(rows, tmp_path / name)
        files[name] = dsl.Artifact(uri=str(tmp_path / name))
    for name, content in (("problems", {"stats": {}}), ("tuning", {"model": ""}), ("plan", {})):
        (tmp_path / name).write_text(json.dumps(content))
    outputs = ("report", "summary", "model_card", "judgement", "comparison")
    inputs = ("problems", "tuning", "plan")
    ports = {name: dsl.Artifact(uri=str(tmp_path / name)) for name in (*outputs, *inputs)}
    compare_step(files, ports["comparison"].path, task="text", margin=0.0, seed=0)
    (tmp_path / "model").mkdir()
    return {
        **ports, **files, "champion": None, "split": None,
        "model": dsl.Model(uri=str(tmp_path / "model")),
        "registry": str(tmp_path / "registry"), "run": {"title": "A run"}, "run_id": "r1",
        "job": "j1", "dataset_uri": str(tmp_path / "rows.jsonl"), "fingerprint": "f" * 64,
        "format": "palm", "series": "weekly", "judging": {"model": ""}, "project": "", "region": "",
        "max_cost_usd": 0.0, "tables": {}, "work_dir": "", "pipeline_job": "",
    }  # fmt: skip


def page(ports):
    with open(ports["report"].path, encoding="utf-8") as file:
        return file.read()


def test_a_better_model_is_reported_recorded_promoted_and_remembered(place, tmp_path, capsys):
    comparison = json.loads((tmp_path / "comparison").read_text())
    assert conclude_step(place) == f"champion 1: {comparison['reason']}"
    assert capsys.readouterr().out == ""  # nothing is imported without a job of Google's
    registry = place["registry"]
    move = champions.champion(registry)
    assert (move.run, move.verdict) == ("r1", "better")
    assert records.read_outcome(registry, "r1") == RunOutcome(
        "better", comparison["reason"], place["report"].uri, place["model"].uri
    )
    assert data_history.last(registry, "weekly") == {"run": "r1", "fingerprint": "f" * 64}
    hashes = [example.hash for example in read_examples(place["dataset_uri"])]
    learnt = records.read_trained_rows(records.find_trained_rows(registry, "r1"))
    assert learnt == {*hashes[ROWS:]}
    assert describe_code() in page(place)
    assert "A run" in page(place)
    assert (tmp_path / "judgement").read_text() == ""
    # A second call repeats nothing.
    assert conclude_step(place) == f"champion 1: {comparison['reason']}"
    assert len(champions.history(registry)) == 1
    # The next run's report tells the rows that came since the champion's.
    with open(place["dataset_uri"], "a", encoding="utf-8") as file:
        file.write('{"input_text": "new", "output_text": "row"}\n')
    again = {**place, "run_id": "", "fingerprint": "e" * 64}
    conclude_step(again)
    assert data_history.last(registry, "weekly") == {"run": "j1", "fingerprint": "e" * 64}
    assert records.read_outcome(registry, "j1").verdict == "better"
    assert "r1" in page(again)


def test_without_a_dataset_nothing_is_remembered_and_a_job_is_imported(place, capsys):
    job = f"projects/1/locations/{REGION}/pipelineJobs/r1"
    conclude_step({**place, "dataset_uri": "", "pipeline_job": job, "problems": None})
    assert data_history.last(place["registry"], "weekly") == {}
    assert capsys.readouterr().out == ("left out: the model is not in the Vertex Model Registry\n")
    assert champions.champion(place["registry"]).run == "r1"
