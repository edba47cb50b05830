"""How many processes train, on which machines, and the command that starts them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
import trl
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

from tunepipe.backends.local.launching import (
    Machines,
    _follow,
    configuration_file,
    launch_command,
    machines,
    process_count,
)
from tunepipe.backends.local.options import LocalOptions
from tunepipe.errors import UsageError

CONFIGURATIONS = Path(trl.__file__).parent / "accelerate_configs"


@pytest.mark.parametrize(
    ("gpus", "processes", "device", "batch_size", "expected"),
    [
        (4, 0, "cuda", 8, 4),
        (4, 0, "cuda", 6, 3),
        (4, 2, "cuda", 8, 2),
        (4, 0, "cuda:1", 8, 1),
        (0, 0, "cpu", 8, 1),
        (0, 4, "cpu", 8, 4),
        (4, 0, "cuda:4", 8, "there is no cuda:4: 4 GPUs can be used"),
        (4, 5, "cuda", 8, "need a GPU each"),
        (4, 2, "cuda:1", 8, "need a GPU each"),
        (0, 3, "cpu", 8, "8 rows a step cannot be shared equally by 3 processes"),
        (0, 2, "cpu", 1, "1 row a step cannot be shared equally by 2 processes"),
    ],
)
def test_processes_are_one_a_gpu_that_share_a_step_equally(
    monkeypatch, gpus, processes, device, batch_size, expected
):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    options = LocalOptions(processes=processes)
    if isinstance(expected, int):
        assert process_count(options, device, batch_size) == expected
    else:
        with pytest.raises(UsageError, match=expected):
            process_count(options, device, batch_size)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Machines()),
        (
            {
                "CLUSTER_SPEC": json.dumps(
                    {
                        "cluster": {
                            "workerpool0": ["a:2222"],
                            "workerpool1": ["b:2222", "c:2222"],
                        },
                        "task": {"type": "workerpool1", "index": 1},
                    }
                )
            },
            Machines(3, 2, "a", 2222),
        ),
        (
            {"PET_NNODES": "2", "PET_NODE_RANK": "1", "PET_MASTER_ADDR": "node-0"},
            Machines(2, 1, "node-0", 29500),
        ),
    ],
    ids=["one machine", "worker pools of Vertex AI", "a TrainJob"],
)
def test_machines_are_those_that_the_environment_names(monkeypatch, environment, expected):
    for name in ("CLUSTER_SPEC", "PET_NNODES", "PET_NODE_RANK", "PET_MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert machines() == expected


@pytest.mark.parametrize("name", ["fsdp1", "fsdp2", "zero1", "zero2", "zero3"])
def test_accelerate_takes_the_command_of_two_machines_and_a_configuration_of_trl(monkeypatch, name):
    """Its own parser, and its own environment for the processes; nothing is started."""
    for variable, value in {
        "PET_NNODES": "2",
        "PET_NODE_RANK": "1",
        "PET_MASTER_ADDR": "n0",
    }.items():
        monkeypatch.setenv(variable, value)
    command = launch_command(4, str(CONFIGURATIONS / f"{name}.yaml"))
    arguments = launch_command_parser().parse_args([*command[3:], "work.json"])
    arguments, configuration, _ = _validate_launch_command(arguments)
    assert (arguments.num_processes, arguments.num_machines, arguments.machine_rank) == (8, 2, 1)
    assert arguments.mixed_precision == "no"
    assert (arguments.use_fsdp, arguments.use_deepspeed) == ("fsdp" in name, "zero" in name)
    if arguments.use_deepspeed:
        fields = ",".join(configuration.deepspeed_config)
        arguments.deepspeed_fields_from_accelerate_config = fields
        command, environment = prepare_deepspeed_cmd_env(arguments)
        assert command is None or "deepspeed" not in command[0]  # no hostfile, no pdsh
        assert environment["ACCELERATE_DEEPSPEED_ZERO_STAGE"] == name[-1]
    else:
        environment = prepare_multi_gpu_env(arguments)
        assert environment["FSDP_VERSION"] == name[-1]
    assert arguments.main_process_ip == "n0"


def test_a_configuration_is_a_file_or_one_of_trl_that_what_is_installed_can_run(
    tmp_path, monkeypatch
):
    own = tmp_path / "own.yaml"
    own.write_text("distributed_type: FSDP\n")
    assert configuration_file(str(own)) == str(own)
    assert configuration_file("fsdp2") == str(CONFIGURATIONS / "fsdp2.yaml")
    with pytest.raises(UsageError, match="no accelerate configuration 'fsdp9'") as caught:
        configuration_file("fsdp9")
    assert "fsdp1, fsdp2" in caught.value.fix
    with pytest.raises(UsageError, match="needs DeepSpeed, which is not installed"):
        configuration_file("zero2")
    (tmp_path / "deepspeed.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert configuration_file("zero2") == str(CONFIGURATIONS / "zero2.yaml")


@pytest.mark.parametrize(
    ("version", "is_refused"), [("2.11.0+cu130", True), ("2.13.0", False), ("3.0.0a1", False)]
)
def test_an_older_torch_is_refused_for_fsdp2_alone(tmp_path, monkeypatch, version, is_refused):
    metadata = tmp_path / f"torch-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert configuration_file("fsdp1") == str(CONFIGURATIONS / "fsdp1.yaml")
    if not is_refused:
        assert configuration_file("fsdp2") == str(CONFIGURATIONS / "fsdp2.yaml")
        return
    with pytest.raises(UsageError) as caught:
        configuration_file("fsdp2")
    assert str(caught.value) == (
        f"accelerate_config: FSDP 2 needs torch 2.13 or newer, and torch {version} is installed\n"
        "  fix: pip install --upgrade torch, or take fsdp1"
    )


ACCELERATE = """
import os, time
def main():
    print(os.getpid(), flush=True)
    time.sleep(60)
    print("still here", flush=True)
"""
PARENT = """
import subprocess
from tunepipe.backends.local.launching import launch_command
subprocess.run(launch_command(1, ""))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone ends a process with its parent")
def test_what_starts_the_processes_ends_with_its_parent(tmp_path):
    """In place of accelerate, which takes seconds to import, a module that only waits."""
    (tmp_path / "accelerate" / "commands").mkdir(parents=True)
    files = {"__init__": "", "commands/__init__": "", "commands/launch": ACCELERATE}
    for name, text in files.items():
        (tmp_path / "accelerate" / f"{name}.py").write_text(text)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], env=environment, stdout=subprocess.PIPE
    ) as parent:
        assert int(parent.stdout.readline()) != parent.pid
        parent.kill()
        assert parent.stdout.read() == b""  # of the process that was started, to its end


def test_what_starts_the_processes_does_nothing_for_a_parent_that_has_ended():
    program = f"from tunepipe.backends.local.launching import launch; launch({os.getppid()})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"process {os.getppid()}, which started this training, has ended\n"


def test_no_handler_for_a_fork_runs_where_the_processes_are_started():
    """Those of gRPC abort in the child, one in twelve; here one that always does."""
    is_here = threading.Event()
    os.register_at_fork(after_in_child=lambda: is_here.is_set() and os.abort())
    is_here.set()
    try:
        program = 'print(\'{"result": {"loss": 1.0}}\')'
        result = _follow([sys.executable, "-c", program], dict(os.environ), print)
    finally:
        is_here.clear()
    assert result == {"loss": 1.0}
