"""The step that knows what a run takes, before it spends anything."""

from typing import NamedTuple

from kfp.dsl import Artifact, Dataset, Input, Markdown, Output

from tunepipe.packaging.component import component


@component
def compute_train_steps(
    plan: Output[Artifact],
    summary: Output[Markdown],
    rows: int = 0,
    train: Input[Dataset] = None,
    backend: str = "",
    model: str = "",
    region: str = "",
    epochs: float = 0.0,
    train_steps: int = 0,
    tokens: int = 0,
    token_rows: int = 0,
    max_cost_usd: float = 0.0,
    tables: dict = {},  # noqa: B006
    eval: Input[Dataset] = None,
    task: str = "auto",
    max_output_tokens: int = 256,
    scoring: dict = {},  # noqa: B006
    asking: dict = {},  # noqa: B006
    judging: dict = {},  # noqa: B006
    options: dict = {},  # noqa: B006
) -> NamedTuple("Outputs", [("train_steps", int), ("batch_size", int), ("cost_usd", float)]):
    """Turn epochs into steps, estimate time and money, and stop a run that would cost too much.

    It also stops for held-out rows that could not be scored once the tuning is paid.

    Args:
        rows: Number of rows to learn from; 0 counts those of `train`.
        train: The rows to learn from, as an artifact of an earlier step.
        backend: large-model, gemini, open-model, custom or local; empty follows from the model.
        model: The model to tune; empty takes the backend's default.
        region: Where the run and the tuning are; empty for a local run.
        epochs: Passes over the rows; 0 takes train_steps, or the model's recommendation.
        train_steps: Optimizer steps; 0 takes epochs.
        tokens: Tokens of the rows, by estimate; 0 if unknown.
        token_rows: The rows that `tokens` were counted over, if they are more than those to
            learn from; 0 says the same rows.
        max_cost_usd: Stop above this estimate, in US dollars; 0 sets no limit.
        eval: The held-out rows, which must suit the task; none are not checked.
        max_output_tokens: The longest answer, in tokens; longer references are warned of.
        scoring: Settings of compare_models; its task wins.
        asking: Settings of evaluate_*; its max_output_tokens wins.
        judging: Settings of the judge, whose model must take the rows.
        options: Options of the backend; the location of a managed job is where it is tuned.

    Returns:
        plan: The whole plan as JSON, as `tunepipe plan --json` prints it.
        summary: The arithmetic and the warnings, for the graph.
        batch_size: Rows a step.
        cost_usd: The estimate, in US dollars.
    """
    from tunepipe.steps.planning import check_held_out, count_rows, plan_step

    rows = rows or count_rows(train)
    what = {"backend": backend, "model": model, "region": region}
    tokens = round(tokens * rows / (token_rows or rows or 1))
    size = {"rows": rows, "tokens_estimated": tokens, "epochs": epochs, "train_steps": train_steps}
    scoring, asking = {"task": task, **scoring}, {"max_output_tokens": max_output_tokens, **asking}
    tuned = {"backend": backend, "model": model, "tables": tables}
    warnings, held_out = check_held_out(eval, scoring, asking, judging.get("model", ""), **tuned)
    size = {**size, "max_cost_usd": max_cost_usd}
    notes = {"warnings": warnings, "held_out": held_out, "options": options, "tables": tables}
    planned = plan_step(path=plan.path, summary=summary.path, **notes, **what, **size)
    return (planned.train_steps, planned.batch_size, planned.estimated_cost_usd or 0.0)
