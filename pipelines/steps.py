"""The package's components as steps of its own pipelines, which carry no code."""

from collections.abc import Callable, Mapping
from functools import cache
from inspect import signature
from typing import Any, NamedTuple

from kfp.dsl.structures import ResourceSpec

from tunepipe import components
from tunepipe.packaging.component import thin


class Kind(NamedTuple):
    """What the steps of a kind need, and whether a host may repeat them.

    Args:
        cpus: The most that a step uses; Vertex AI takes the smallest machine that has them.
        memory_gb: Likewise, in GB.
        is_free: Whether a second attempt costs nothing. A step that pays is never repeated by the
            host: it continues by itself, when the run is started again.
        is_cached: Whether equal inputs give equal outputs; a step that looks at, or changes, what
            lies outside the pipeline runs in every run.
    """

    cpus: int
    memory_gb: int
    is_free: bool = True
    is_cached: bool = True


# Steps that wait for a service, steps that read rows, and steps that ask models or compare answers.
_WAITING, _ROWS, _ANSWERS = (1, 4), (2, 8), (4, 16)
_KINDS = {
    "prepare_run": Kind(*_WAITING, is_cached=False),
    "validate_jsonl": Kind(*_ROWS),
    "split_dataset": Kind(*_ROWS),
    "compute_train_steps": Kind(*_WAITING),
    "prepare_template": Kind(*_WAITING),
    "keep_template_model": Kind(*_WAITING),
    "compare_models": Kind(*_ANSWERS),
    "conclude_run": Kind(*_ROWS, is_free=False, is_cached=False),
    "send_notice": Kind(*_WAITING, is_cached=False),
    "list_shards": Kind(*_WAITING, is_cached=False),
    "validate_shard": Kind(*_ROWS, is_cached=False),
    "merge_validations": Kind(*_ROWS),
}
_TUNES, _ASKS = Kind(*_WAITING, is_free=False), Kind(*_ANSWERS, is_free=False)
# These train and answer on the step's own machine, which the user chooses.
_ON_ITS_OWN_MACHINE = ("tune_local", "evaluate_model")


class Steps:
    """The components as steps that carry no code: `step.validate_jsonl(...)`.

    An input that is not given takes the pipeline's parameter of its name, if there is one; one that
    is None is left out.

    Args:
        parameters: The pipeline's parameters, with `code`.
    """

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self.parameters = parameters

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def add(**inputs: Any) -> Any:
            ports = signature(getattr(components, name).python_func).parameters
            shared = {port: self.parameters[port] for port in ports if port in self.parameters}
            chosen = {**shared, **inputs, "code": self.parameters["code"]}
            chosen = {port: value for port, value in chosen.items() if value is not None}
            task = _component(name, frozenset(chosen))(**chosen)
            _set_up(task, name)
            return task

        return add


@cache
def _component(name: str, inputs: frozenset[str]) -> Any:
    return thin(getattr(components, name).python_func, only=inputs)


def _set_up(task: Any, name: str) -> None:
    """Say how large a machine a step needs, whether it is cached, and whether it is repeated."""
    kind = _KINDS.get(name) or (_TUNES if name.startswith("tune_") else _ASKS)
    if not kind.is_cached:
        task.set_caching_options(False)
    if kind.is_free:
        task.set_retry(num_retries=2, backoff_duration="30s", backoff_factor=2.0)
    if name not in _ON_ITS_OWN_MACHINE:
        # A cluster reserves little; Vertex AI looks at the limits alone.
        limits = {"cpu_limit": str(kind.cpus), "memory_limit": f"{kind.memory_gb}G"}
        reserved = {"cpu_request": "250m", "memory_request": "512M"}
        task.container_spec.resources = ResourceSpec(**limits, **reserved)
