"""One training in several processes, on one or several machines, through `accelerate launch`.

accelerate does this alone: it starts the processes, joins the machines, and shards the model if
its configuration says so (FSDP, DeepSpeed). Each process runs this module.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from tunepipe import errors
from tunepipe.backends.local.options import LocalOptions
from tunepipe.backends.local.training import TrainingTask
from tunepipe.errors import TunepipeError, UsageError, plural
from tunepipe.progress import Progress

_END_SECONDS = 30.0
_PORT = 29500
_PR_SET_PDEATHSIG = 1
# TRL's loss reads the head's weights and skips its forward pass. Older ones then take a group of
# modules for gathered that is not (seen with 2.11).
_FSDP2_TORCH = (2, 13)


@dataclass(frozen=True)
class Machines:
    """The machines of a training: how many, the number of this one, and where the first one is."""

    count: int = 1
    rank: int = 0
    address: str = ""
    port: int = _PORT


def machines() -> Machines:
    """Read the machines from what Vertex AI or Kubeflow Trainer sets in the environment.

    Vertex AI describes the worker pools of a CustomJob in CLUSTER_SPEC; the torch runtime of a
    TrainJob sets torchrun's PET_NNODES, PET_NODE_RANK, PET_MASTER_ADDR and PET_MASTER_PORT.
    """
    if text := os.environ.get("CLUSTER_SPEC"):
        spec = json.loads(text)
        # The pools are named workerpool0, workerpool1; ranks count on from pool to pool.
        hosts = [(pool, host) for pool, hosts in sorted(spec["cluster"].items()) for host in hosts]
        address, _, port = hosts[0][1].partition(":")
        rank = sum(pool < spec["task"]["type"] for pool, _ in hosts) + int(spec["task"]["index"])
        return Machines(len(hosts), rank, address, int(port or _PORT))
    if int(os.environ.get("PET_NNODES", "1")) > 1:
        return Machines(
            int(os.environ["PET_NNODES"]),
            int(os.environ["PET_NODE_RANK"]),
            os.environ["PET_MASTER_ADDR"],
            int(os.environ.get("PET_MASTER_PORT", _PORT)),
        )
    return Machines()


def process_count(options: LocalOptions, device: str, batch_size: int) -> int:
    """Return how many processes train on this machine; each takes an equal share of a step's rows.

    `processes` is the user's number; 0 takes one a GPU, and one on a CPU.
    """
    import torch

    nodes, count = machines().count, options.processes
    if device != "cpu":
        seen = torch.cuda.device_count()
        if _number_of(device) >= seen:
            raise UsageError(
                f"there is no {device}: {plural(seen, 'GPU')} can be used",
                where="device",
                fix="count from cuda:0, among those that CUDA_VISIBLE_DEVICES names",
            )
        gpus = seen if device == "cuda" else 1
        if count > gpus:
            raise UsageError(
                f"{count} processes need a GPU each, and {gpus} can be used",
                where="processes",
                fix="leave it out, and device too, to use every GPU",
            )
        shared = (n for n in range(gpus, 0, -1) if batch_size % (n * nodes) == 0)
        count = count or next(shared, 1)
    count = count or 1
    if batch_size % (count * nodes):
        raise UsageError(
            f"{plural(batch_size, 'row')} a step cannot be shared equally by "
            f"{count * nodes} processes",
            where="processes",
            fix=f"take a batch_size that is a multiple of {count * nodes}, or other processes",
        )
    return count


def configuration_file(name: str) -> str:
    """Return an accelerate configuration: a YAML file, or one that comes with TRL, such as fsdp2.

    A UsageError if there is none of that name, or torch is too old or DeepSpeed missing for it.
    """
    spec = importlib.util.find_spec("trl")
    folder = Path(str(spec and spec.origin)).parent / "accelerate_configs"
    file = Path(name) if Path(name).is_file() else folder / f"{name}.yaml"
    if not file.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
        raise UsageError(
            f"there is no accelerate configuration {name!r}",
            where="accelerate_config",
            fix=f"name a YAML file, or one of {known}",
        )
    text = file.read_text(encoding="utf-8")
    installed = importlib.metadata.version("torch")
    if "fsdp_version: 2" in text and tuple(map(int, installed.split(".")[:2])) < _FSDP2_TORCH:
        least = ".".join(map(str, _FSDP2_TORCH))
        raise UsageError(
            f"FSDP 2 needs torch {least} or newer, and torch {installed} is installed",
            where="accelerate_config",
            fix="pip install --upgrade torch, or take fsdp1",
        )
    if "DEEPSPEED" in text and not importlib.util.find_spec("deepspeed"):
        raise UsageError(
            "this configuration needs DeepSpeed, which is not installed",
            where="accelerate_config",
            fix="pip install deepspeed, or take fsdp2",
        )
    return str(file)


def tune_in_processes(task: TrainingTask, progress: Progress) -> dict[str, Any]:
    """Train in several processes; return what the first measured, or raise what one raised."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, "task.json")
        content = msgspec.to_builtins(task)
        del content["request"]["catalog"]  # which no training reads
        file.write_bytes(msgspec.json.encode(content))
        name = task.options.accelerate_config
        configuration = configuration_file(name) if name else ""
        command = [*launch_command(task.processes, configuration), str(file)]
        return _follow(command, _environment(task.processes, task.device), progress)


def launch_command(processes: int, configuration: str) -> list[str]:
    """Return the command that starts this module's processes, but for its own argument."""
    place = machines()
    flags = {
        "--num_processes": processes * place.count,
        "--num_machines": place.count,
        "--machine_rank": place.rank,
        "--mixed_precision": "no",  # the trainer's own argument decides
        "--dynamo_backend": "no",
        "--main_process_port": place.port if place.count > 1 else 0,
        "--main_process_ip": place.address,
        "--config_file": configuration,
    }
    command = [sys.executable, "-c", f"from {__name__} import launch; launch({os.getpid()})"]
    command += [str(part) for flag in flags.items() if flag[1] != "" for part in flag]
    if processes * place.count > 1 and not configuration:
        command.append("--multi_gpu")  # and of several processes on CPUs too; see _environment
    return [*command, "-m", __name__]


def _environment(processes: int, device: str) -> dict[str, str]:
    environment = {
        "OMP_NUM_THREADS": "1",  # else accelerate takes threads of its choice
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    if machines().count == 1:
        # The port of the processes' meeting is chosen as it is opened. accelerate looks for a free
        # one some seconds before, and on a busy machine it was taken by then.
        environment |= {"PET_STANDALONE": "1", "PET_LOCAL_ADDR": "127.0.0.1"}
    if device == "cpu":
        # Not the flag --cpu, which starts several processes through MPI.
        environment["ACCELERATE_USE_CPU"] = "true"
    elif processes == 1:
        # A process that sees several GPUs would use them all, which TRL refuses. Not the flag
        # --gpu_ids, which counts the machine's GPUs and not those that this process may use.
        number = _number_of(device)
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
        environment["CUDA_VISIBLE_DEVICES"] = gpus.split(",")[number] if gpus else str(number)
    return environment


def _number_of(device: str) -> int:
    """Return N of cuda:N; 0 where it is not named."""
    return int(device.partition(":")[2] or 0)


def _follow(
    command: Sequence[str], environment: Mapping[str, str], progress: Progress
) -> dict[str, Any]:
    """Pass on what the first process reports until all have ended; return its result."""
    result: dict[str, Any] = {}
    is_stuck = False
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
        ) as process,
    ):
        assert process.stdout
        try:
            for event in map(json.loads, process.stdout):
                if "error" in event:
                    raise getattr(errors, event["error"])(*event["found"], **event["about"])
                result = event.get("result", result)
                if "result" not in event:
                    progress(event)
        except BaseException:
            process.terminate()
            raise
        finally:
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                is_stuck = True
                process.kill()
        log.seek(0)
        lines = log.read().decode("utf-8", errors="replace").splitlines()
    # The result is the last that a training says: what only fails to end after it has succeeded.
    has_failed = process.returncode and not (result and is_stuck)
    if has_failed or not (result or machines().rank):
        errors_seen = [line for line in lines if "Error" in line and "ChildFailed" not in line]
        # A process that a signal ended has said nothing; accelerate says which signal it was.
        reasons = errors_seen or [line for line in lines if "exitcode" in line or "Signal" in line]
        reason = reasons[-1] if reasons else f"it ended with code {process.returncode}"
        raise TunepipeError(
            f"a process of the training failed: {reason.strip()}",
            where="processes",
            fix="run with processes 1 to see where",
        )
    return result


def launch(parent: int) -> None:
    """Be `accelerate launch` with this process's arguments, and end with its parent.

    It says so itself. A `preexec_fn` of the parent's would run after the fork handlers of gRPC,
    whose threads abort in the child (seen with grpcio 1.85: one child in twelve).

    Args:
        parent: The process that started this one; it may have ended since.
    """
    _end_with_parent()
    if os.getppid() != parent:
        sys.exit(f"process {parent}, which started this training, has ended")
    from accelerate.commands.launch import main

    main()


def _end_with_parent() -> None:
    """Have the kernel end this process where its parent is killed (Linux alone can)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _work(path: str) -> None:
    """Do one process's part; the first one reports events and its result, each its error."""
    from accelerate import PartialState

    from tunepipe.backends.local.backend import prepared
    from tunepipe.backends.local.base_tuning import tune_here

    _end_with_parent()
    task = msgspec.json.decode(Path(path).read_bytes(), type=TrainingTask)
    reports = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no report
    is_cpu = task.device == "cpu"
    state = PartialState(cpu=is_cpu)

    def report(event: Mapping[str, Any]) -> None:
        if state.is_main_process or "error" in event:
            print(json.dumps(dict(event)), file=reports, flush=True)

    try:
        device = "cpu" if is_cpu else str(state.device)
        with prepared(device, task.options.threads):
            result = tune_here(replace(task, device=device, processes=state.num_processes), report)
    except TunepipeError as error:
        about = {"where": error.where, "fix": error.fix}
        report({"error": type(error).__name__, "found": [error.found], "about": about})
        sys.exit(1)
    report({"result": result})
    state.destroy_process_group()


if __name__ == "__main__":
    _work(sys.argv[1])
