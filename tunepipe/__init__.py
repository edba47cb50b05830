"""Validated, costed, gated tuning of language models.

The functions do what the commands of `tunepipe` do, on files or DataFrames::

    import tunepipe

    tunepipe.validate("rows.jsonl")  # every problem, with its line
    tunepipe.split("rows.jsonl", train="train.jsonl", eval="eval.jsonl")
    tunepipe.plan("rows.jsonl", region="us-central1")  # steps, hours, dollars
    tunepipe.run("rows.jsonl", backend="local")  # the whole pipeline, on this machine

Each returns a typed result with `.to_dict()`; in a notebook it shows itself.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunepipe.api import Run as Run
    from tunepipe.api import Scores as Scores
    from tunepipe.api import Split as Split
    from tunepipe.api import TuningPlan as TuningPlan
    from tunepipe.api import Validation as Validation
    from tunepipe.api import plan as plan
    from tunepipe.api import run as run
    from tunepipe.api import score as score
    from tunepipe.api import split as split
    from tunepipe.api import validate as validate

__version__ = "0.2.0"
__all__ = (
    "Run",
    "Scores",
    "Split",
    "TuningPlan",
    "Validation",
    "plan",
    "run",
    "score",
    "split",
    "validate",
)


def __getattr__(name: str) -> object:
    # The command imports this package at every start; the API is loaded when it is used.
    if name in __all__:
        return getattr(import_module("tunepipe.api"), name)
    raise AttributeError(f"module 'tunepipe' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
