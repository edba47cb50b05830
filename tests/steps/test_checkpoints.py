"""Each checkpoint is asked rows that are set apart, and the best of them is the tuned model."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import boto3
import pytest

from tests.backends.managed.jobs import jobs, pairs, ports_of, request
from tests.standin.process import StandIn
from tests.standin.s3 import BUCKET as BUCKET_S3
from tests.standin.session import BUCKET
from tests.waiting import until
from tunepipe.backends.managed import gemini, gemini_prediction
from tunepipe.data import predictions
from tunepipe.errors import DataError, UsageError
from tunepipe.evaluation.score import evaluate
from tunepipe.steps.comparison import compare_step
from tunepipe.steps.tuning import _overlap, tune

FLASH = "gemini-3.5-flash"


def tuned(cloud: StandIn, folder: Path, rows=None, **options):
    asked = request(cloud, FLASH, rows, **options)
    ports = ports_of(asked, folder)
    settings = {name: getattr(asked, name) for name in ("base_model", "batch_size")}
    tune(gemini, ports, predictor=gemini_prediction, **settings)
    report = json.loads(Path(ports["tuning"].path).read_text())
    return ports["model"].metadata["resourceName"], report


def test_an_overfitted_last_checkpoint_is_not_taken(cloud: StandIn, tmp_path: Path) -> None:
    cloud.fault("tuning", message="overfit")
    endpoint, report = tuned(cloud, tmp_path, select_checkpoint=True)
    statistics = report["statistics"]
    scores = {each["checkpoint_id"]: each["score"] for each in statistics["selection"]}
    assert len(scores) == 3
    assert scores == {"1": 0.6, "2": 0.6, "3": 0.5}
    assert scores["1"] == scores["2"] > scores["3"]
    assert statistics["selected"] == "1"  # of equals the one that has seen the rows least
    assert endpoint == statistics["selection"][0]["endpoint"]
    (job,) = jobs(cloud)
    assert endpoint != job["tunedModel"]["endpoint"]
    assert "exportLastCheckpointOnly" not in job["supervisedTuningSpec"]
    assert "note" not in statistics or "not moved" not in statistics["note"]
    (call,) = cloud.calls("UpdateModel")
    assert call["resource"].startswith(job["tunedModel"]["model"].partition("@")[0])


def test_the_rows_of_the_choice_are_not_tuned_on(cloud: StandIn, tmp_path: Path) -> None:
    _, report = tuned(cloud, tmp_path, select_checkpoint=True)
    (job,) = jobs(cloud)
    folder = cloud.buckets / BUCKET / "data"
    learnt = (folder / "train.learn.jsonl").read_text().splitlines()
    apart = report["statistics"]["selection"][0]["rows"]
    assert len(learnt) + apart == 100
    assert apart == 10
    assert job["supervisedTuningSpec"]["hyperParameters"]["epochCount"] in (3, "3")  # as planned
    assert "doubts" not in report["statistics"]


def test_a_frequent_input_does_not_take_the_rows_from_the_tuning(
    cloud: StandIn, tmp_path: Path
) -> None:
    """Its hash comes first, and all rows with one input are on one side."""
    first = min(
        (f"often {n}" for n in range(3000)), key=lambda text: hashlib.sha256(text.encode()).digest()
    )
    often = [{"input_text": first, "output_text": f"answer {n}"} for n in range(100)]
    _, report = tuned(cloud, tmp_path, [*pairs(100), *often], select_checkpoint=True)
    learnt = (cloud.buckets / BUCKET / "data" / "train.learn.jsonl").read_text()
    assert learnt.count(first) == 100
    assert report["statistics"]["selection"][0]["rows"] == 20  # a tenth of 200, as was planned


@pytest.mark.parametrize(
    ("answer", "reference", "share"),
    [
        ("a b", "b a", 1.0),
        ("a b", "a c", 0.5),
        ("a", "a b c", 0.5),
        ("a a", "a b c d", 1 / 3),
        ("no", "yes", 0.0),
        ("", "yes", 0.0),
        ("", "", 1.0),
    ],
)
def test_an_answer_is_as_good_as_the_words_it_shares(answer, reference, share):
    assert _overlap(answer, reference) == pytest.approx(share)


def test_a_checkpoint_without_an_endpoint_is_passed_over(cloud: StandIn, tmp_path: Path) -> None:
    cloud.fault("tuning", message="unserved")
    endpoint, report = tuned(cloud, tmp_path, select_checkpoint=True)
    selection = report["statistics"]["selection"]
    assert [each["checkpoint_id"] for each in selection] == ["2", "3"]
    assert (report["statistics"]["selected"], endpoint) == ("2", selection[0]["endpoint"])


def test_too_few_rows_select_nothing(cloud: StandIn, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="2 of 20 training rows would be set apart"):
        tuned(cloud, tmp_path, pairs(20), select_checkpoint=True)
    assert jobs(cloud) == []


def test_an_open_model_has_no_checkpoints_to_select_from() -> None:
    from tunepipe.backends.managed.parameters import decode_options

    with pytest.raises(UsageError, match="does not take this option"):
        decode_options({"select_checkpoint": True}, "open-model")


TUNE = """
import signal, sys
from types import SimpleNamespace
from tunepipe.backends.local import backend
from tunepipe.steps.tuning import tune
from tunepipe.stores import storage

storage.SYNC_SECONDS = 0.2
folder, last_step = sys.argv[1], sys.argv[3]

class Backend:
    def tune(self, request, output_dir, progress):
        def report(event):
            if str(event["done"]) == last_step:
                signal.pause()  # until it is killed
        return backend.tune(request, output_dir, report)

names = ("train", "eval", "model", "base", "tuning")
ports = {name: SimpleNamespace(metadata={}, path=f"{folder}/{name}") for name in names}
ports |= {"train_steps": 30, "learning_rate_multiplier": 1.0, "options": {"checkpoint_every": 20}}
settings = {"base_model": "", "batch_size": 8, "seed": 0}
tune(Backend(), ports, checkpoint_dir=f"s3://{sys.argv[2]}/work", **settings)
"""


def test_a_killed_tuning_goes_on_from_an_object_store(s3, tmp_path: Path) -> None:
    """SIGKILL while it trains; on another machine what is in the bucket is enough."""
    rows = "".join(json.dumps(row) + "\n" for row in pairs(60))
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
        for name in ("train", "eval"):
            (folder / name).write_text(rows)
    store = boto3.client("s3")

    def is_kept() -> bool:
        listed = store.list_objects_v2(Bucket=BUCKET_S3, Prefix="work/checkpoints/")
        return any("/checkpoints-" in each["Key"] for each in listed.get("Contents", ()))

    command = [sys.executable, "-c", TUNE]
    with subprocess.Popen([*command, folders[0], BUCKET_S3, "30"]) as process:
        try:
            until(lambda: is_kept() or process.poll() is not None)
            assert process.poll() is None
        finally:
            process.kill()
    assert not (folders[0] / "tuning").exists()
    subprocess.run([*command, folders[1], BUCKET_S3, "none"], check=True)
    statistics = json.loads((folders[1] / "tuning").read_text())["statistics"]
    assert statistics["resumed_from_step"] == 20
    assert statistics["train_steps"] == 30


def test_doubts_about_the_tuning_are_part_of_the_reason(tmp_path: Path) -> None:
    rows = [predictions.Prediction(str(n), f"q{n}", f"a{n}", f"a{n}") for n in range(40)]
    none = [predictions.Prediction(str(n), f"q{n}", f"a{n}", "no") for n in range(40)]
    files = {}
    for name, written in (("tuned", rows), ("base", none)):
        predictions.write(written, tmp_path / name)
        files[name] = SimpleNamespace(path=str(tmp_path / name))
    report = {"statistics": {"doubts": ["the job made only 3 of 339 planned steps"]}}
    (tmp_path / "tuning").write_text(json.dumps(report))
    files["tuning"] = SimpleNamespace(path=str(tmp_path / "tuning"))
    found = compare_step(files, str(tmp_path / "comparison"))
    assert found.verdict == evaluate(rows, none).comparison.verdict
    assert found.reason.endswith("About the tuning: the job made only 3 of 339 planned steps.")
    assert json.loads((tmp_path / "comparison").read_text())["doubts"]
