"""The step that asks a model which of two models answers better."""

from kfp.dsl import Artifact, Input, Output

from tunepipe.packaging.component import component


@component
def judge_models(
    tuned: Input[Artifact],
    base: Input[Artifact],
    judgement: Output[Artifact],
    plan: Input[Artifact] = None,
    judge_model: str = "",
    project: str = "",
    region: str = "",
    prompt: str = "",
    max_cost_usd: float = 0.0,
    tables: dict = {},  # noqa: B006
    seed: int = 0,
    work_dir: str = "",
) -> str:
    """Let a Gemini judge each row in both orders; two different replies are a tie.

    Args:
        tuned: Predictions of the tuned model.
        base: Predictions of the model before tuning.
        plan: The plan of compute_train_steps; its estimate comes off max_cost_usd first.
        judge_model: Such as gemini-3.5-flash; empty asks nobody.
        project: The project that pays.
        region: Where the texts may go.
        prompt: A template with $input, $reference, $first and $second; empty takes ours.
        max_cost_usd: Above this estimate nothing is asked, which is no failure; 0 sets no limit.
        tables: Values that replace those of the package's dated tables.
        seed: Seeds the comparison.
        work_dir: A folder where replies are kept as they come; a killed step goes on from there
            and pays for no reply twice. Empty keeps none.

    Returns:
        judgement: What the judge said, with its prompt and cost, as JSON; empty without a judge.
        Output: better, worse or not-enough-evidence; empty where nothing was judged.
    """
    from tunepipe.steps.judging import judge_step

    who = {"model": judge_model, "project": project, "region": region, "prompt": prompt}
    how = {"max_cost_usd": max_cost_usd, "tables": tables, "seed": seed, "work_dir": work_dir}
    return judge_step({"tuned": tuned, "base": base}, plan, judgement.path, **who, **how)
