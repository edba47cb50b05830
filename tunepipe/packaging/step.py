"""A step of a pipeline: what still has to be installed is, and then the component's body runs.

thin_step.sh starts this module in the code that the run names:

    python -m tunepipe.packaging.step CODE EXECUTOR_INPUT MODULE FUNCTION
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from tunepipe.distribution import ROOT
from tunepipe.errors import LimitError, plural
from tunepipe.packaging.imports import modules_of, third_party_of
from tunepipe.packaging.installed import INSTALLED, check_code, install_missing, require_installed
from tunepipe.packaging.requirements import KFP, requirements
from tunepipe.stores.failures import failure_kept

# A step that waits for nothing should not hold a machine for days. The steps that tune have limits
# of their own, which also end the paid job.
_HOURS_MAX: dict[str, float] = {"prepare_run": 2, "compute_train_steps": 1, "send_notice": 1}
_HOURS_MAX_OTHERS = 48
_GRACE_SECONDS = 300


def requirements_of(
    module: str, function: str, options: Mapping[str, Any] | None = None
) -> list[str]:
    """Return what a step installs: kfp, and what the modules that its body imports need.

    Options may need more: a TrainJob is created by the client of Kubernetes, and weights in 4 bits
    are computed with by bitsandbytes.
    """
    source = (ROOT / "components" / f"{module}.py").read_text(encoding="utf-8")
    imported = third_party_of(modules_of(source, function))
    given = options or {}
    four_bit = given.get("tuning_mode") == "qlora" or given.get("four_bit")
    more = ["kubernetes"] if given.get("train_job") else []
    more += ["bitsandbytes"] if four_bit and module == "local" else []
    return [KFP, *requirements([*imported, *more])]


def run_step(code: str, executor_input: str, module: str, function: str) -> None:
    """Run a component's body as kfp would, within its time, and keep why it failed."""
    task = json.loads(executor_input)
    output_file = task["outputs"]["outputFile"]
    given = task["inputs"].get("parameterValues", {})
    options = {**(given.get("settings") or {}), **(given.get("options") or {})}
    with failure_kept(output_file), _time_limit(function):
        check_code(code)
        needed = requirements_of(module, function, options)
        if code.startswith(INSTALLED):
            require_installed(needed)
        elif code:
            pip = f"{sys.executable} -m pip --quiet --disable-pip-version-check --no-input install"
            pip += f" --no-compile --target {os.environ['INTO']}"
            install_missing(pip, needed, code=code)
            importlib.invalidate_caches()
        from kfp.dsl.executor_main import executor_main

        path = ROOT / "components" / f"{module}.py"
        sys.argv[1:] = ["--component_module_path", str(path), "--function_to_execute", function]
        sys.argv += ["--executor_input", executor_input]
        executor_main()


@contextmanager
def _time_limit(function: str) -> Iterator[None]:
    """End a step that takes too long; what it has paid for is kept as it comes."""
    hours = _HOURS_MAX.get(function, _HOURS_MAX_OTHERS)

    def end(number: int, frame: FrameType | None) -> NoReturn:
        signal.signal(signal.SIGALRM, lambda number, frame: os._exit(LimitError.exit_code))
        signal.alarm(_GRACE_SECONDS)
        raise LimitError(
            f"the step has not ended within {plural(hours, 'hour')}",
            where=function,
            fix="see its log; run again, and the work goes on where it stood",
        )

    if not function.startswith("tune_"):
        signal.signal(signal.SIGALRM, end)
        signal.alarm(round(hours * 3600))
    yield
    signal.alarm(0)


if __name__ == "__main__":
    run_step(*sys.argv[1:])
