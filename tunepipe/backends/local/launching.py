"""One training in several processes, on one or several machines, through `accelerate launch`.

accelerate does this alone: it starts the processes, joins the machines, and shards the model if
its configuration says so (FSDP, DeepSpeed). Each process runs this module.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tunepipe import errors
from tunepipe.backends.base import TuningRequest
from tunepipe.backends.local.options import TuningOptions
from tunepipe.errors import TunepipeError, UsageError
from tunepipe.progress import Progress

_POLL_SECONDS = 0.2
_END_SECONDS = 30.0
_PORT = 29500
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Machines:
    """The machines of a training, as one of them sees them.

    Args:
        count: How many there are.
        rank: The number of this one, counted from 0.
        address: Where the first one is reached.
        port: The port there.
    """

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
        hosts = [host for _, pool in sorted(spec["cluster"].items()) for host in pool]
        first, _, port = hosts[0].partition(":")
        # The pools are numbered workerpool0, workerpool1; ranks count on from pool to pool.
        before = [pool for pool in sorted(spec["cluster"]) if pool < spec["task"]["type"]]
        rank = sum(len(spec["cluster"][pool]) for pool in before) + int(spec["task"]["index"])
        return Machines(len(hosts), rank, first, int(port or _PORT))
    if int(os.environ.get("PET_NNODES", "1")) > 1:
        return Machines(
            int(os.environ["PET_NNODES"]),
            int(os.environ["PET_NODE_RANK"]),
            os.environ["PET_MASTER_ADDR"],
            int(os.environ.get("PET_MASTER_PORT", _PORT)),
        )
    return Machines()


def process_count(options: TuningOptions, device: str, batch_size: int) -> int:
    """Return how many processes train on this machine.

    Args:
        options: `processes` is the user's number; 0 takes one a GPU, and one on a CPU.
        device: "cpu", "cuda" or "cuda:N".
        batch_size: Rows a step; each process takes an equal share of them.

    Raises:
        UsageError: There are too few GPUs, or the rows of a step cannot be shared equally.
    """
    import torch

    nodes = machines().count
    wanted = options.processes
    if device == "cpu":
        count = wanted or 1
    else:
        gpus = torch.cuda.device_count() if device == "cuda" else 1
        if wanted > gpus:
            raise UsageError(
                f"{wanted} processes need a GPU each, and {gpus} can be used",
                where="processes",
                fix="leave it out, and device too, to use every GPU",
            )
        shared = (n for n in range(gpus, 0, -1) if batch_size % (n * nodes) == 0)
        count = wanted or next(shared, 1)
    if batch_size % (count * nodes):
        raise UsageError(
            f"{batch_size} rows a step cannot be shared equally by {count * nodes} processes",
            where="processes",
            fix=f"take a batch_size that is a multiple of {count * nodes}, or other processes",
        )
    return count


def configuration_file(name: str, device: str) -> str:
    """Return the file of an accelerate configuration.

    Args:
        name: A YAML file, or one of the configurations that come with TRL, such as fsdp2 or zero3.
        device: "cpu", "cuda" or "cuda:N".

    Raises:
        UsageError: There is none of that name, it shards the model and there is no GPU, or
            DeepSpeed is not installed for it.
    """
    if Path(name).is_file():
        file = Path(name)
    else:
        spec = importlib.util.find_spec("trl")
        folder = Path(str(spec and spec.origin)).parent / "accelerate_configs"
        file = folder / f"{name}.yaml"
        if not file.is_file():
            known = ", ".join(sorted(one.stem for one in folder.glob("*.yaml")))
            raise UsageError(
                f"there is no accelerate configuration {name!r}",
                where="accelerate_config",
                fix=f"name a YAML file, or one of {known}",
            )
    text = file.read_text(encoding="utf-8")
    needs_deepspeed = "DEEPSPEED" in text
    if device == "cpu" and (needs_deepspeed or "FSDP" in text):
        raise UsageError(
            "this configuration shards the model over GPUs, and none is used",
            where="accelerate_config",
            fix="leave it out, or run where there are GPUs",
        )
    if needs_deepspeed and not importlib.util.find_spec("deepspeed"):
        raise UsageError(
            "this configuration needs DeepSpeed, which is not installed",
            where="accelerate_config",
            fix="pip install deepspeed, or take fsdp2",
        )
    return str(file)


def tune_in_processes(
    request: TuningRequest,
    options: TuningOptions,
    folder: str,
    identity: str,
    *,
    processes: int,
    device: str,
    progress: Progress,
) -> dict[str, Any]:
    """Train in several processes and return what the first one measured.

    Args:
        request: What to tune.
        options: Settled.
        folder: Where the model goes.
        identity: Names the checkpoints.
        processes: How many on this machine.
        device: "cpu", "cuda" or "cuda:N".
        progress: Receives what the first process reports.

    Raises:
        TunepipeError: What a process raised; then all are ended.
    """
    with tempfile.TemporaryDirectory() as scratch:
        events = Path(scratch, "events.jsonl")
        work = {
            "request": {
                one.name: getattr(request, one.name)
                for one in fields(request)
                if one.name not in ("catalog", "labels")
            },
            "options": asdict(options),
            "folder": folder,
            "identity": identity,
            "device": device.partition(":")[0],
            "events": str(events),
        }
        Path(scratch, "work.json").write_text(json.dumps(work), encoding="utf-8")
        command = _command(processes, device, options.accelerate_config)
        command += ["-m", __name__, str(Path(scratch, "work.json"))]
        return _follow(command, _environment(device), events, progress)


def _command(processes: int, device: str, configuration: str) -> list[str]:
    place = machines()
    flags = {
        "--num_processes": processes * place.count,
        "--num_machines": place.count,
        "--machine_rank": place.rank,
        "--mixed_precision": "no",  # the trainer's own argument decides
        "--dynamo_backend": "no",
        "--main_process_port": place.port if place.count > 1 else 0,
    }
    if place.address:
        flags["--main_process_ip"] = place.address
    if configuration:
        flags["--config_file"] = configuration_file(configuration, device)
    command = [sys.executable, "-m", "accelerate.commands.launch"]
    command += [str(part) for pair in flags.items() for part in pair]
    if ":" in device:
        command += ["--gpu_ids", device.partition(":")[2]]
    if processes * place.count > 1 and not configuration:
        command.append("--multi_gpu")  # and of several processes on CPUs too; see _environment
    return command


def _environment(device: str) -> dict[str, str]:
    environment = {
        "OMP_NUM_THREADS": "1",  # else accelerate takes threads of its choice
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    # Not the flag --cpu, which starts several processes through MPI.
    return environment | ({"ACCELERATE_USE_CPU": "true"} if device == "cpu" else {})


def _follow(
    command: Sequence[str], environment: Mapping[str, str], events: Path, progress: Progress
) -> dict[str, Any]:
    """Pass on what the first process reports until all have ended; return its result."""
    log = events.with_name("log.txt")
    result: dict[str, Any] = {}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            preexec_fn=_end_with_parent,
        )
        try:
            for event in _read_events(events, process):
                if "error" in event:
                    kind = getattr(errors, event.pop("error"))
                    raise kind(event["found"], where=event["where"], fix=event["fix"])
                if "result" in event:
                    result = event["result"]
                else:
                    progress(event)
        finally:
            _end(process)
    if process.returncode or not (result or machines().rank):
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        reason = next((line for line in reversed(lines) if "Error" in line), "no message")
        raise TunepipeError(
            f"a process of the training failed: {reason.strip()}",
            where="processes",
            fix="run with processes 1 to see where",
        )
    return result


def _read_events(path: Path, process: subprocess.Popen[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the events as they are written, until the processes have ended."""
    done = 0
    ended = False
    while True:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        whole = text[done : text.rfind("\n") + 1]
        done += len(whole)
        yield from map(json.loads, whole.splitlines())
        if ended:
            return
        ended = process.poll() is not None
        time.sleep(0 if ended else _POLL_SECONDS)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()  # the launcher passes it on to its processes
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def _end_with_parent() -> None:
    """Have the kernel end the launcher where this process is killed (Linux alone can)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _work(path: str) -> None:
    """Do one process's part; the first one writes events, its result or its error."""
    from accelerate import PartialState

    from tunepipe.backends.local.backend import tune_here

    content = json.loads(Path(path).read_text(encoding="utf-8"))
    first = os.environ.get("RANK", "0") == "0"

    def report(event: Mapping[str, Any]) -> None:
        if first or "error" in event:
            with open(content["events"], "a", encoding="utf-8") as file:
                file.write(json.dumps(dict(event)) + "\n")

    state = PartialState(cpu=content["device"] == "cpu")
    try:
        result = tune_here(
            TuningRequest(**content["request"]),
            TuningOptions(**content["options"]),
            Path(content["folder"]),
            content["identity"],
            device=content["device"] if content["device"] == "cpu" else str(state.device),
            processes=state.num_processes,
            progress=report,
        )
    except TunepipeError as error:
        about = {"found": error.found, "where": error.where, "fix": error.fix}
        report({"error": type(error).__name__, **about})
        sys.exit(1)
    report({"result": result})
    state.destroy_process_group()


if __name__ == "__main__":
    _work(sys.argv[1])
