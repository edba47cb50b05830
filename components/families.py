"""The ports of components that do the same for different backends."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output


def checking(
    backend: str,
    project: str = "",
    region: str = "",
    root: str = "",
    base_model: str = "",
    options: dict = {},  # noqa: B006
    tables: dict = {},  # noqa: B006
    inlined: bool = False,
):
    """Check what a run needs; `steps.cloud_checks.check_step` takes these ports."""


def preparing(
    dataset_uri: str,
    format: str = "auto",
    task: str = "auto",
    metric: str = "",
    scoring: dict = {},  # noqa: B006
    margin: float = 0.0,
    guard_uri: str = "",
    guard_margin: float = 0.0,
    judge_model: str = "",
    judge_prompt: str = "",
    max_output_tokens: int = 256,
    answers: int = 1,
    group_by: str = "",
    asking: dict = {},  # noqa: B006
    seed: int = 0,
    registry: str = "",
    series: str = "",
    min_new_rows: int = 0,
    run_id: str = "",
    job: str = "",
):
    """Settle what a run works on; `steps.preparation.prepare_step` takes these ports."""


def tuning(
    train: Input[Dataset],
    eval: Input[Dataset],
    model: Output[Model],
    base: Output[Model],
    tuning: Output[Artifact],
    train_steps: int,
    learning_rate_multiplier: float = 1.0,
    options: dict = {},  # noqa: B006
):
    """Tune a model; `steps.tuning.tune` takes these ports."""


def tuning_in_cloud(
    gcp_resources: dsl.OutputPath(str),
    project: str,
    region: str,
    display_name: str = "tunepipe",
    tables: dict = {},  # noqa: B006
):
    """Tune a model by a job in the user's project."""


def asking(
    model: Input[Model],
    eval: Input[Dataset],
    predictions: Output[Artifact],
    base_predictions: Output[Artifact],
    champion_predictions: Output[Artifact],
    first_predictions: Output[Artifact],
    guard_predictions: Output[Artifact],
    guard_base_predictions: Output[Artifact],
    metrics: Output[Metrics],
    base: Input[Model] = None,
    champion: str = "",
    first: str = "",
    guard: Input[Dataset] = None,
    guard_uri: str = "",
    guard_fingerprint: str = "",
    max_output_tokens: int = 256,
    settings: dict = {},  # noqa: B006
    work_dir: str = "",
) -> NamedTuple("Outputs", [("rows", int), ("unanswered", int)]):
    """Ask models every held-out row; `steps.evaluation.evaluate_step` takes these ports."""


def reporting(
    comparison: Input[Artifact],
    report: Output[dsl.HTML],
    summary: Output[dsl.Markdown],
    model_card: Output[dsl.Markdown],
    tuned: Input[Artifact] = None,
    base: Input[Artifact] = None,
    champion: Input[Artifact] = None,
    problems: Input[Artifact] = None,
    split: Input[Artifact] = None,
    plan: Input[Artifact] = None,
    tuning: Input[Artifact] = None,
    registry: str = "",
    run: dict = {},  # noqa: B006
    run_id: str = "",
    job: str = "",
):
    """Report what is known of a run."""


def concluding(
    model: Input[Model],
    judgement: Output[Artifact],
    dataset_uri: str = "",
    fingerprint: str = "",
    format: str = "auto",
    series: str = "",
    judging: dict = {},  # noqa: B006
    project: str = "",
    region: str = "",
    max_cost_usd: float = 0.0,
    tables: dict = {},  # noqa: B006
    work_dir: str = "",
    pipeline_job: str = "",
):
    """Conclude a run; `steps.conclusion.conclude_step` takes these ports."""
