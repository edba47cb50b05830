"""The pipeline with the template in it, and whether it is still the template that was compiled."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from tests.standin.process import StandIn
from tests.standin.session import BUCKET, PROJECT, REGION
from tunepipe.backends.palm.template import read_template
from tunepipe.cli import main
from tunepipe.errors import CloudError, UsageError
from tunepipe.runs import vertex_request
from tunepipe.runs.compile import inlined_pipeline, template_sha256

TEMPLATE = (
    "https://us-kfp.pkg.dev/ml-pipeline/large-language-model-pipelines/tune-large-model/v3.0.0"
)

ORDERS = Path(__file__).parents[2] / "examples" / "orders.jsonl"


def test_a_template_is_composed_recorded_and_checked(
    cloud: StandIn, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "template.yaml"
    source.write_text(read_template(TEMPLATE).text)
    folder = tmp_path / "compiled"
    arguments = ["compile", "--template", str(source), "--folder", str(folder), "--json"]
    assert main.run(arguments) == 0
    told = json.loads(capfd.readouterr().out)
    text = Path(told["written"]).read_text()
    spec = yaml.safe_load(text)
    graphs = [unit["dag"] for unit in (spec["root"], *spec["components"].values()) if "dag" in unit]
    tasks = {name: task for graph in graphs for name, task in graph["tasks"].items()}
    assert {"prepare-template", "tune-large-model", "keep-template-model"} <= set(tasks)
    assert "compute-train-steps" in tasks["prepare-template"]["dependentTasks"]
    template = tasks["tune-large-model"]["inputs"]["parameters"]
    assert template["location"]["taskOutputParameter"]["producerTask"] == "prepare-template"
    assert "max_context_length" not in template  # this template does not declare it
    assert template_sha256(spec) == told["sha256"]
    assert template_sha256({"root": {"dag": {"tasks": {"own": {}}}}}) == ""
    of_others = {"taskInfo": {"name": "prepare-template"}, "inputs": None}
    assert template_sha256({"root": {"dag": {"tasks": {"own": of_others}}}}) == ""
    run = vertex_request.VertexRun(
        backend="large-model",
        project=PROJECT,
        region=REGION,
        bucket=f"gs://{BUCKET}",
        parameters={"dataset_uri": str(ORDERS)},
        pipeline=told["written"],
    )
    now = datetime(2026, 11, 22, tzinfo=UTC)
    assert "prepare-template" in str(vertex_request.prepare(run, now=now).job["pipeline_spec"])
    source.write_text(source.read_text() + "\n# changed since\n")
    with pytest.raises(UsageError, match="changed since"):
        vertex_request.prepare(run, now=now)


@pytest.mark.parametrize("text", ["", "name: x", "{}", "not: [yaml"])
def test_what_is_no_template_is_refused(tmp_path: Path, text: str) -> None:
    source = tmp_path / "template.yaml"
    source.write_text(text)
    with pytest.raises(UsageError):
        inlined_pipeline(read_template(str(source)))


def test_a_template_out_of_reach_is_told(cloud: StandIn, tmp_path: Path) -> None:
    with pytest.raises(CloudError, match="404"):
        read_template(TEMPLATE.replace("v3.0.0", "v9.9.9"))
    cloud.fault("template.get", code=403, message="denied")
    with pytest.raises(CloudError, match="403"):
        read_template(TEMPLATE)
    with pytest.raises(UsageError):
        read_template(str(tmp_path / "none.yaml"))
