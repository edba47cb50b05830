"""Region is a boundary: no pipeline asks any other place.

Each compiled pipeline is run on the stand-in in a region that is not the default. Those that tune
in the cloud are run whole by the command: large-model in test_vertex_run.py and, on a schedule, in
test_retraining.py; gemini and open-model in test_managed_run.py; custom in test_custom_run.py. They
look at the same `places`.
"""

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.standin.session import BUCKET, PROJECT, REGION
from tests.waiting import until
from tunepipe.gcp import clients

PIPELINES = Path(__file__).parents[2] / "compiled" / "pipelines"
ROWS = Path(__file__).parents[2] / "examples" / "orders.jsonl"
BY_THE_COMMAND = {"tune_custom", "tune_large_model", "tune_gemini", "tune_open_model"}
OTHERS = {
    "tune_local": {"base_model": "tiny", "train_steps": 10, "max_output_tokens": 4},
    "validate_shards": {"format": "palm"},
}


def test_no_pipeline_is_left_out():
    compiled = {path.stem for path in PIPELINES.glob("*.yaml")}
    assert compiled == BY_THE_COMMAND | set(OTHERS)


@pytest.mark.parametrize("name", OTHERS)
def test_no_request_leaves_the_region(cloud, name):
    rows = ROWS.read_text(encoding="utf-8").splitlines(True)[:60]
    (cloud.buckets / BUCKET / "rows.jsonl").write_text("".join(rows), encoding="utf-8")
    text = (PIPELINES / f"{name}.yaml").read_text(encoding="utf-8")
    given = {"dataset_uri": f"gs://{BUCKET}/*.jsonl", **OTHERS[name]}
    job = clients.pipelines(REGION).create_pipeline_job(
        parent=clients.parent(PROJECT, REGION),
        pipeline_job={
            "pipeline_spec": yaml.load(text, yaml.CSafeLoader),
            "runtime_config": {
                "gcs_output_directory": f"gs://{BUCKET}/runs",
                "parameter_values": given,
            },
        },
    )
    ended = re.compile("SUCCEEDED|FAILED|CANCELLED")
    state = until(lambda: ended.search(cloud.ask("states")[job.name]))[0]
    assert state == "SUCCEEDED", cloud.log()
    assert cloud.places() == {REGION}
    buckets = {call["resource"] for call in cloud.calls() if call["method"].startswith("storage.")}
    assert all(f"/b/{BUCKET}" in resource for resource in buckets), json.dumps(sorted(buckets))
