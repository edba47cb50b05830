"""Asking a remote model many questions: in parallel, within a rate, retrying what may pass."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

import tenacity

from .contract import Answer, Prompt


class Rate:
    """Lets calls through at an even pace.

    Args:
        per_minute: Calls a minute; 0 sets no limit.
    """

    def __init__(self, per_minute: float) -> None:
        self._interval = 60.0 / per_minute if per_minute else 0.0
        self._next = time.monotonic()
        self._lock = threading.Lock()

    def take(self) -> None:
        """Wait for the next free moment."""
        with self._lock:
            at = max(self._next, time.monotonic())
            self._next = at + self._interval
        time.sleep(max(0.0, at - time.monotonic()))


def ask_all(
    ask: Callable[[Prompt], Answer],
    prompts: Sequence[Prompt],
    *,
    is_transient: Callable[[BaseException], bool],
    workers: int = 8,
    requests_per_minute: float = 0.0,
    attempts: int = 6,
    pause_seconds: float = 1.0,
) -> Iterator[Answer]:
    """Answer every prompt, in the order in which the answers come.

    Args:
        ask: Asks one question; may raise.
        prompts: The questions.
        is_transient: Whether an error may pass, so that the question is asked again.
        workers: Questions under way at once, >= 1.
        requests_per_minute: The rate, retries included; 0 sets no limit.
        attempts: How often one question is asked at most, >= 1.
        pause_seconds: The first pause after an error; it doubles each time, up to a minute.

    Yields:
        One answer a prompt; where an error did not pass, its `error` says which.
    """
    rate = Rate(requests_per_minute)
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(is_transient),
        wait=tenacity.wait_random_exponential(multiplier=pause_seconds, max=60),
        stop=tenacity.stop_after_attempt(attempts),
        before=lambda _: rate.take(),
    )

    def answered(prompt: Prompt) -> Answer:
        try:
            return retrying.copy()(ask, prompt)
        except tenacity.RetryError as error:
            return Answer(prompt.id, None, f"gave no answer: {error.last_attempt.exception()}")

    with ThreadPoolExecutor(workers) as pool:
        # A window, so that a consumer that stops early leaves few questions under way.
        waiting = iter(prompts)
        under_way: set[Future[Answer]] = set()
        while True:
            for prompt in waiting:
                under_way.add(pool.submit(answered, prompt))
                if len(under_way) >= 2 * workers:
                    break
            if not under_way:
                return
            done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
