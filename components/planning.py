"""The step that knows what a run takes, before it spends anything."""

from typing import NamedTuple

from kfp.dsl import Artifact, Dataset, Input, Output

from tunepipe.packaging.component import component


@component
def compute_train_steps(
    rows: int,
    plan: Output[Artifact],
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
    margin: float = 0.0,
    guard_margin: float = 0.0,
    max_output_tokens: int = 256,
    asking: dict = {},  # noqa: B006
    judge_model: str = "",
    judge_prompt: str = "",
    seed: int = 0,
    options: dict = {},  # noqa: B006
) -> NamedTuple("Outputs", [("train_steps", int), ("batch_size", int), ("cost_usd", float)]):
    """Turn epochs into steps, estimate time and money, and stop a run that would cost too much.

    Stops as well for what the steps after the tuning would refuse once it is paid for.

    Args:
        rows: Rows to learn from.
        backend: large-model, gemini, open-model or local; empty follows from the model.
        model: The model to tune; empty takes the backend's default.
        region: Where the run is, and the tuning; empty locally.
        epochs: Passes over the rows; 0 takes train_steps, or the model's recommendation.
        train_steps: Optimizer steps; 0 takes epochs.
        tokens: Tokens of the rows, by estimate; 0 where unknown.
        token_rows: The rows that `tokens` were counted over, where they are more than those to
            learn from; 0 says the same rows.
        max_cost_usd: Stop above this estimate, in US dollars; 0 sets no limit.
        tables: Values that replace those of the package's dated tables, of the same shape.
        eval: The rows held out, which have to suit the task; none are not looked at.
        task: text, classification, json, calls, or auto.
        margin: As compare_models takes it; here it is only checked, as all that follow.
        guard_margin: As compare_models takes it.
        max_output_tokens: As the evaluation takes it.
        asking: How a remote model is asked, as the evaluation takes it.
        judge_model: As judge_models takes it.
        judge_prompt: As judge_models takes it.
        seed: Seeds the statistics.
        options: Backend-specific options; the location of a managed job is where it is tuned.

    Returns:
        plan: The whole plan as JSON, as `tunepipe plan --json` prints it.
        train_steps: Optimizer steps.
        batch_size: Rows a step.
        cost_usd: The estimate, in US dollars.
    """
    from tunepipe.steps.planning import check_later_steps, plan_step

    what = {"backend": backend, "model": model, "region": region}
    tokens = round(tokens * rows / (token_rows or rows or 1))
    size = {"rows": rows, "tokens_estimated": tokens, "epochs": epochs, "train_steps": train_steps}
    judge = {"judge_model": judge_model, "judge_prompt": judge_prompt, "seed": seed}
    gate = {"task": task, "margin": margin, "guard_margin": guard_margin}
    later = {**judge, **gate, "max_output_tokens": max_output_tokens, "asking": asking}
    told = check_later_steps(later, eval, backend=backend, model=model, tables=tables)
    size = {**size, "max_cost_usd": max_cost_usd}
    found = plan_step(plan.path, tables, options=options, warnings=told, **what, **size)
    return (found.train_steps, found.batch_size, found.estimated_cost_usd or 0.0)


@component
def check_cloud(
    backend: str,
    project: str,
    region: str,
    root: str,
    base_model: str = "",
    options: dict = {},  # noqa: B006
    tables: dict = {},  # noqa: B006
    inlined: bool = False,
) -> str:
    """Check, as the run's own account, what would fail the run an hour later. Never cache this.

    It looks at APIs, rights, the account, the bucket and its region, quota and the template, and
    changes nothing. A problem stops the run; what the account may not see is said, and does not.

    Args:
        backend: large-model, gemini or open-model.
        project: The project that pays.
        region: Where everything runs.
        root: Where the run's results go, gs://BUCKET/….
        base_model: The model to tune; empty takes the backend's default.
        options: Backend-specific options; service_account and template_version count here.
        tables: Values that replace those of the package's dated tables.
        inlined: Whether the template is a part of the pipeline, so that nobody fetches it.

    Returns:
        Output: How many things are sound, and how many are out of sight.
    """
    from tunepipe.steps.cloud_checks import check_step

    where = {"project": project, "region": region, "root": root}
    what = {"backend": backend, "base_model": base_model, "options": options, "tables": tables}
    return check_step(**what, **where, inlined=inlined)
