"""Runs on a KFP host, through kfp's own client and the command."""

import base64
import json
import os
import random

import pytest

from tests.backends.local.models import write_base
from tests.standin import s3 as s3_standin
from tests.standin.kfp_host import KfpHost
from tests.standin.kubernetes import Cluster
from tunepipe.errors import LimitError
from tunepipe.registry import records
from tunepipe.runs.compile import pipeline_text
from tunepipe.runs.kfp.workflow_size import estimate, require_fit
from tunepipe.runs.pipeline_spec import read
from tunepipe.stores import storage

IMAGE = "registry.example/tunepipe@sha256:" + "0" * 64
BUCKET = f"s3://{s3_standin.BUCKET}"


@pytest.fixture
def start(empty_folder, monkeypatch, tmp_path, s3):
    """Start a host; kfp's client keeps its context in the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    rows = "".join(
        json.dumps({"prompt": f"question {n}", "completion": f"answer {n}"}) + "\n"
        for n in range(120)
    )
    storage.write_bytes(rows.encode(), f"{BUCKET}/rows.jsonl")
    hosts = []

    def make(**settings):
        hosts.append(KfpHost(**settings))
        return hosts[-1]

    yield make
    for host in hosts:
        host.stop()


def run(said, host, *more):
    return said(
        "run", "--backend", "local", "--dataset", f"{BUCKET}/rows.jsonl", "--bucket", BUCKET,
        "--kfp-host", host.url, "--image", IMAGE, "--train-steps", "30", "--yes", *more, "--json",
    )  # fmt: skip


def test_a_run_is_started_looked_at_and_cancelled(start, said):
    host = start()
    code, dry, _ = run(said, host, "--dry-run")
    assert (code, host.calls) == (0, [])
    assert dry["kfp_request"]["parameters"]["dataset_uri"] == f"{BUCKET}/rows.jsonl"
    code, started, err = run(said, host)
    assert code == 0, err
    ((run_id, sent),) = host.runs.items()
    assert started["run"] == run_id
    assert started["page"] == f"{host.url}/#/runs/details/{run_id}"
    parameters = sent["runtime_config"]["parameters"]
    assert parameters["registry"] == f"{BUCKET}/tunepipe/registry/local"
    assert parameters["run_id"] == sent["display_name"]
    assert parameters["code"].startswith("installed")
    (version,) = [v for v in host.versions.values() if v["display_name"].count("-") > 1]
    images = {e["container"]["image"] for e in executors(version)}
    assert images == {IMAGE}
    assert "retryPolicy" not in json.dumps(version), "what is refused is not repeated"
    # The same pipeline is not uploaded again, another one is a new version.
    before = len(host.versions)
    run(said, host)
    assert len(host.versions) == before
    run(said, host, "--accelerator", "nvidia.com/gpu:1")
    assert (len(host.versions), len(host.pipelines)) == (before + 1, 1)
    place = ("--kfp-host", host.url, "--json")
    code, listed, _ = said("runs", *place)
    assert (code, len(listed["runs"]), listed["runs"][0]["place"]) == (0, 3, "KFP")
    code, status, _ = said("status", run_id[:12], *place)
    assert (code, status["name"], status["state"]) == (0, run_id, "pending")
    code, cancelled, _ = said("cancel", run_id[:12], *place)
    assert (code, cancelled["state"]) == (0, "cancelling")
    sent["state"] = "CANCELED"
    assert said("cancel", run_id, *place)[1]["state"] == "cancelled"
    assert said("status", "0" * 36, *place)[0] == 2


def executors(version):
    spec = version["pipeline_spec"]
    return spec.get("pipeline_spec", spec)["deploymentSpec"]["executors"].values()


def test_a_run_that_ended_shows_its_steps_verdict_and_logs(start, said):
    host = start()
    run(said, host)
    (sent,) = host.runs.values()
    parameters = sent["runtime_config"]["parameters"]
    found = records.RunOutcome("worse", "it lost", f"{BUCKET}/report.html")
    records.record_outcome(parameters["registry"], parameters["run_id"], found)
    names = ("root", "root-driver", "prepare-run-driver", "prepare-run", "tune-local")
    sent["run_details"] = {
        "task_details": [
            {"display_name": name, "state": "SUCCEEDED", "create_time": f"2026-11-26T1{n}:00:00Z",
             "pod_name": f"pod-{name}"}
            for n, name in enumerate(names)
        ]
    }  # fmt: skip
    sent["state"] = "SUCCEEDED"
    host.logs = {"pod-prepare-run": "checked\n", "pod-tune-local": "step 1\nstep 2\n"}
    place = ("--kfp-host", host.url, "--json")
    code, status, _ = said("status", "latest", *place)
    assert (code, status["verdict"]) == (1, "worse")
    assert [task["name"] for task in status["tasks"]] == ["prepare-run", "tune-local"]
    assert status["results"] == {"report": f"{BUCKET}/report.html"}
    code, logs, _ = said("logs", "latest", "--step", "tune", *place)
    assert (code, logs["logs"]) == (0, {"tune-local": "step 1\nstep 2\n"})
    assert said("logs", "latest", "--step", "none", *place)[0] == 2
    sent["state"] = "FAILED"
    sent["run_details"]["task_details"][4] |= {"state": "FAILED", "error": {"message": "no GPU"}}
    code, status, _ = said("status", "latest", *place)
    assert (code, status["error"]) == (4, "tune-local: no GPU")


def test_a_run_is_executed_to_its_end_and_its_model_is_asked(start, said, tmp_path):
    """Rows, checkpoints and registry are on s3://; the steps are those of a cluster."""
    host = start(folder=tmp_path / "cluster")
    tiny = ("--train-steps", "60", "--param", "max_output_tokens=8", "--wait")
    code, done, err = run(said, host, *tiny)
    (execution,) = host.executions.values()
    log = (execution.folder / "log.txt").read_text()
    assert (code in (0, 1), done["state"]) == (True, "succeeded"), err + log[-3000:]
    assert [task["name"] for task in done["tasks"]][-1] == "send-notice"
    assert {task["state"] for task in done["tasks"]} == {"succeeded"}
    assert done["verdict"]
    assert done["results"]["report"].endswith("/conclude-run/report")
    # What a killed step would find is in the store, and no checkpoint of a finished tuning is.
    kept = storage.matching_files(f"{BUCKET}/tunepipe/work/**")
    assert [name for name in kept if "/answers/" in name]
    assert not [name for name in kept if "checkpoint" in name.rpartition("/")[2]]
    # The model before tuning went from step to step as an artifact.
    assert "was asked" in log or done["model"]
    place = ("--kfp-host", host.url, "--json")
    code, answer, err = said("predict", "--model", "latest", "question 3", *place)
    assert code == 0, err
    assert len(answer["answers"]) == 1
    shown = said("status", "latest", "--kfp-host", host.url)[2]
    assert f"next: tunepipe predict --model {done['name']} --kfp-host {host.url} TEXT" in shown


def test_a_node_of_the_cluster_trains_for_a_run(start, said, tmp_path, monkeypatch):
    """The step that tunes creates a TrainJob, and the later steps have its model."""
    host, base = start(folder=tmp_path / "runs"), write_base(tmp_path / "base")
    (tmp_path / "nodes").mkdir()
    cluster = Cluster(tmp_path / "nodes")
    monkeypatch.setenv("KUBECONFIG", cluster.kubeconfig())
    job = {"image": IMAGE, "namespace": "team", "work_uri": f"{BUCKET}/work", "nodes": 1}
    job["poll_seconds"] = 0.3
    more = ("--base-model", base, "--option", f"train_job={json.dumps(job)}", "--wait")
    more += ("--option", "learning_rate=1e-2", "--param", "max_output_tokens=4")
    code, done, err = run(said, host, *more)
    cluster.stop()
    (execution,) = host.executions.values()
    log = (execution.folder / "log.txt").read_text()
    assert (code in (0, 1), done["state"]) == (True, "succeeded"), err + log[-3000:]
    assert done["verdict"]
    (name,) = cluster.created
    assert storage.matching_files(f"{BUCKET}/work/*/result.json")
    assert name in log


def test_a_failed_step_is_reported_in_its_own_words(start, said, tmp_path):
    host = start(folder=tmp_path / "cluster")
    rows = storage.read_bytes(f"{BUCKET}/rows.jsonl")
    wrong = ("--param", f"guard_uri={BUCKET}/guard.jsonl", "--train-steps", "30", "--wait")
    storage.write_bytes(rows[:100] + b"\n", f"{BUCKET}/guard.jsonl")
    code, failed, err = run(said, host, *wrong)
    assert code == 1, err  # as on this machine
    assert failed["error"]["found"].startswith("prepare-run: ")
    assert "line" in failed["error"]["found"]
    assert failed["error"]["fix"]


def test_steps_get_gpus_nodes_secrets_and_a_volume(start, said):
    host = start()
    settings = {
        "node_selector": {"cloud.google.com/gke-accelerator": "nvidia-l4"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "secrets": {"s3-credentials": {"AWS_ACCESS_KEY_ID": "accesskey"}},
        "volume": {"claim": "tunepipe-work", "folder": "/work"},
    }
    options = [f"--kfp={name}={json.dumps(value)}" for name, value in settings.items()]
    asked = ("--accelerator", "nvidia.com/gpu:2", "--user-project", "payer")
    code, _, err = run(said, host, *asked, *options)
    assert code == 0, err
    (sent,) = host.runs.values()
    assert sent["runtime_config"]["parameters"]["work_dir"] == "/work/tunepipe"
    version = host.versions[sent["pipeline_version_reference"]["pipeline_version_id"]]
    spec = version["pipeline_spec"]["pipeline_spec"]
    got = version["pipeline_spec"]["platform_spec"]["platforms"]["kubernetes"]["deploymentSpec"]
    executors = spec["deploymentSpec"]["executors"]
    pays = {"name": "TUNEPIPE_USER_PROJECT", "value": "payer"}
    assert all(pays in executor["container"]["env"] for executor in executors.values())
    assert not os.environ.get("TUNEPIPE_USER_PROJECT")  # of the command alone
    asks = {
        name
        for name, executor in executors.items()
        if executor["container"].get("resources", {}).get("accelerator", {}).get("count") == "2"
    }
    assert asks == {"exec-tune-local", "exec-evaluate-model"}
    for name, config in got["executors"].items():
        assert config["secretAsEnv"][0]["keyToEnv"] == [
            {"envVar": "AWS_ACCESS_KEY_ID", "secretKey": "accesskey"}
        ]
        assert config["pvcMount"][0]["mountPath"] == "/work"
        assert ("nodeSelector" in config, "tolerations" in config) == (name in asks, name in asks)
    assert set(got["executors"]) == set(spec["deploymentSpec"]["executors"])


@pytest.mark.parametrize(
    ("base_model", "option", "more", "size"),
    [
        ("Qwen/Qwen3-4B", "{}", [], ""),
        ("meta-llama/Llama-3.3-70B-Instruct", "{}", [], "151Gi"),
        ("meta-llama/Llama-3.3-70B-Instruct", "{}", ["--kfp", "disk_gib=0"], ""),
        ("meta-llama/Llama-3.3-70B-Instruct", '{"image": "i", "work_uri": "s3://b/w"}', [], ""),
        ("Qwen/Qwen3-4B", "{}", ["--kfp", "disk_gib=300", "--kfp", "storage_class=ssd"], "300Gi"),
    ],
)
def test_a_large_model_gets_a_disk(start, said, base_model, option, more, size):
    host = start()
    job = [] if option == "{}" else ["--option", f"train_job={option}"]
    code, _, err = run(said, host, "--base-model", base_model, *job, *more)
    assert code == 0, err
    (version,) = [v for v in host.versions.values() if v["display_name"].count("-") > 1]
    platform = version["pipeline_spec"].get("platform_spec", {}).get("platforms", {})
    executors_of = platform.get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
    assert set(executors_of) == ({"exec-tune-local", "exec-evaluate-model"} if size else set())
    for config in executors_of.values():
        (disk,) = config["genericEphemeralVolume"]
        assert disk["size"] == size
        assert disk["defaultStorageClass"] == (not more)
        assert disk["storageClassName"] == ("ssd" if more else "")
    folders = [
        {one["name"]: one["value"] for one in executor["container"].get("env", ())}
        for executor in executors(version)
    ]
    assert folders.count({"HF_HOME": "/disk/hub", "TMPDIR": "/disk"}) == (2 if size else 0)


@pytest.mark.parametrize("kind", ["token", "cookie"])
def test_a_caller_identifies_itself(start, said, tmp_path, kind):
    secret = "oauth2_proxy_kubeflow=a-caller" if kind == "cookie" else "a-caller"
    host = start(**{kind: secret}, namespace="team-a")
    option = {"token": "token_file", "cookie": "cookies_file"}[kind]
    file = tmp_path / "secret"
    code, refused, err = run(said, host, "--kfp", "namespace=team-a")
    assert (code, host.runs) == (4, {})
    assert option in refused["error"]["fix"]
    file.write_text(f"{secret}\n")
    code, _, err = run(said, host, "--kfp", f"{option}={file}", "--kfp", "namespace=team-a")
    assert (code, len(host.runs)) == (0, 1), err
    assert secret not in err
    code, refused, _ = run(said, host, "--kfp", f"{option}={file}", "--kfp", "namespace=team-b")
    assert (code, len(host.runs)) == (4, 1)
    assert "namespace" in refused["error"]["fix"]
    assert run(said, host, "--kfp", f"{option}={tmp_path / 'none'}")[0] == 2
    # kfp's client asks first for whom the host is, where no namespace is named.
    code, refused, err = said("runs", "--kfp-host", host.url, "--json")
    assert (code, "Traceback" in err) == (4, False)
    assert option in refused["error"]["fix"]


@pytest.mark.parametrize(
    ("more", "code", "where"),
    [
        (("--image", ""), 2, "--image"),
        (("--bucket", "folder"), 2, "--bucket"),
        (("--wheelhouse", "wheels", "--image", ""), 2, "--wheelhouse"),
        (("--kfp", "name_space=a"), 2, "--kfp: unknown name name_space"),
        (("--param", f"series={'x' * 12_000}"), 3, "series"),
    ],
)
def test_what_is_refused_before_anything_is_sent(start, said, more, code, where):
    host = start()
    found, refused, _ = run(said, host, *more)
    assert (found, host.calls) == (code, [])
    error = refused["error"]
    assert where in f"{error['where']}: {error['found']}"


def test_pipelines_that_carry_no_code_fit_and_those_that_do_not_are_refused():
    spec = read(pipeline_text("local"))
    require_fit(spec, {})
    size = estimate(spec)
    assert size.created < 400_000
    letters = random.Random(0)
    for executor in spec["deploymentSpec"]["executors"].values():
        code = base64.b64encode(letters.randbytes(45_000)).decode()
        executor["container"]["command"] = [*executor["container"]["command"], code]
    assert estimate(spec).finished > 5 * size.finished
    with pytest.raises(LimitError, match="Argo"):
        require_fit(spec, {})
