"""One training in several processes: one a GPU, or several on a CPU, through accelerate.

Each process holds the whole model and takes its share of a step's rows. The gradients are added up
over all of them, so that all make the same step; the first alone writes and reports.
"""

from __future__ import annotations

import os
import queue
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from tunepipe.errors import TunepipeError, UsageError
from tunepipe.progress import Progress

_LOOK_SECONDS = 0.2
_T = TypeVar("_T")


@dataclass(frozen=True)
class Crew:
    """The processes of one training, as one of them sees them.

    Args:
        device: Where this process computes.
        number: Its number, counted from 0.
        size: How many there are.
    """

    device: str
    number: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes and reports."""
        return self.number == 0

    def share(self, items: Sequence[_T]) -> Sequence[_T]:
        """Return what of these is this process's."""
        return items[self.number :: self.size]

    def add_up(self, values: Any) -> Any:
        """Add a tensor up over all processes, in place."""
        if self.size > 1:
            from torch import distributed

            distributed.all_reduce(values)
        return values

    def add_up_gradients(self, parameters: Iterable[Any]) -> None:
        """Add the gradients up over all processes; what none of them used has none."""
        if self.size == 1:
            return
        import torch
        from torch import distributed

        trained = [one for one in parameters if one.requires_grad]
        used = torch.tensor([one.grad is not None for one in trained], device=self.device).int()
        under_way = []
        for one, users in zip(trained, self.add_up(used).tolist(), strict=True):
            if users:
                one.grad = torch.zeros_like(one) if one.grad is None else one.grad
                under_way.append(distributed.all_reduce(one.grad, async_op=True))
        for reduction in under_way:
            reduction.wait()


def crew_size(wanted: int, device: str, most: int) -> int:
    """Say how many processes train.

    Args:
        wanted: The user's number; 0 takes one a GPU, and one on a CPU.
        device: "cpu", "cuda" or "cuda:N".
        most: No more than these by our own choice.

    Raises:
        UsageError: More than there are GPUs.
    """
    import torch

    if device == "cpu":
        return wanted or 1
    gpus = torch.cuda.device_count() if device == "cuda" else 1
    if wanted > gpus:
        raise UsageError(
            f"{wanted} processes need a GPU each, and {gpus} can be used",
            where="processes",
            fix="leave it out, and device too, to use every GPU",
        )
    return wanted or min(gpus, most)


def in_crew(
    work: Callable[[Crew, Progress], Mapping[str, Any]], size: int, device: str, progress: Progress
) -> Mapping[str, Any]:
    """Do a piece of work in so many processes of this machine.

    Args:
        work: Takes the crew and where to report; must be picklable for more than one process.
        size: How many processes.
        device: "cpu", "cuda" or "cuda:N".
        progress: Told what the first process reports.

    Returns:
        What the first process returned.

    Raises:
        TunepipeError: What a process raised; then all are ended.
    """
    if size == 1:
        return work(Crew(device), progress)
    from torch import multiprocessing

    told: Any = multiprocessing.get_context("spawn").Queue()
    arguments = (work, size, device, _free_port(), told)
    crew = multiprocessing.spawn(_member, arguments, nprocs=size, join=False)
    try:
        return _followed(crew, told, progress)
    finally:
        for process in crew.processes:
            process.kill()
            process.join()


def _followed(crew: Any, told: Any, progress: Progress) -> Mapping[str, Any]:
    """Pass on what the first process reports until all have ended; return its result."""
    from torch.multiprocessing.spawn import ProcessException

    result: Mapping[str, Any] = {}
    try:
        for kind, value in _messages(crew, told):
            if kind == "error":
                raise value
            if kind == "result":
                result = value
            else:
                progress(value)
    except ProcessException as error:
        raise TunepipeError(f"a process of the training failed: {error}") from error
    return result


def _messages(crew: Any, told: Any) -> Iterator[tuple[str, Any]]:
    """Yield what is told until all have ended and nothing is left to read."""
    ended = False
    while True:
        try:
            yield told.get(timeout=_LOOK_SECONDS)
        except queue.Empty:
            if ended:
                return
            ended = crew.join(timeout=0)


def _member(
    number: int,
    work: Callable[[Crew, Progress], Mapping[str, Any]],
    size: int,
    device: str,
    port: int,
    told: Any,
) -> None:
    place = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in {**place, **meeting}.items()})
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # else accelerate takes threads of its choice
    from accelerate import PartialState

    state = PartialState(cpu=device == "cpu")
    crew = Crew(device if device == "cpu" else str(state.device), number, size)

    def report(event: Mapping[str, Any]) -> None:
        if crew.is_first:
            told.put(("event", dict(event)))

    try:
        result = work(crew, report)
    except TunepipeError as error:
        told.put(("error", error))  # and whoever waits for this process is ended
        return
    if crew.is_first:
        told.put(("result", result))
    state.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
