"""The step that says whether the tuned model is better."""

from kfp.dsl import Artifact, ClassificationMetrics, Input, Metrics, Output

from tunepipe.packaging.component import component


@component
def compare_models(
    tuned: Input[Artifact],
    base: Input[Artifact],
    comparison: Output[Artifact],
    tuned_metrics: Output[Metrics],
    base_metrics: Output[Metrics],
    confusion: Output[ClassificationMetrics],
    champion: Input[Artifact] = None,
    first: Input[Artifact] = None,
    guard_tuned: Input[Artifact] = None,
    guard_base: Input[Artifact] = None,
    tuning: Input[Artifact] = None,
    task: str = "auto",
    margin: float = 0.0,
    guard_margin: float = 0.0,
    seed: int = 0,
    settings: dict = {},  # noqa: B006
) -> str:
    """Compare models on the same rows with paired statistics.

    Args:
        base: Predictions of the model before tuning.
        champion: Predictions of the model in service; none, or an empty file, leaves it out.
        first: Predictions of the first champion, compared with the same margin.
        guard_tuned: The tuned model's predictions on prompts that must not get worse; none, or an
            empty file, guards nothing.
        guard_base: The base model's on the same prompts.
        tuning: What is known of the tuning; its doubts are added to the reason.
        seed: Seeds the resampling.
        settings: These and other settings in a mapping, such as the scoring of prepare_run; they
            win: metric, metric_code, normalize, missing, group_by, slice_by, max_latency_ms,
            max_cost_per_answer, price, looks.

    Returns:
        comparison: Scores, comparisons, verdict, reason and flips as JSON.
        tuned_metrics: The tuned model's metrics with their intervals.
        base_metrics: The base model's.
        confusion: The confusion matrix of a classification.
        Output: better, worse or not-enough-evidence.
    """
    from tunepipe.steps.comparison import compare_step

    predictions = {"tuned": tuned, "base": base, "champion": champion, "tuning": tuning}
    predictions["first"] = first
    guard = {"guard_tuned": guard_tuned, "guard_base": guard_base}
    named = {"task": task, "margin": margin, "guard_margin": guard_margin, "seed": seed}
    compared = compare_step({**predictions, **guard}, comparison.path, **{**named, **settings})
    compared.log(tuned_metrics, base_metrics, confusion)
    return compared.verdict


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
    work_dir: str = "",
) -> str:
    """Let a Gemini judge each row in both orders; two different replies are a tie.

    The step fails if more than a tenth of the replies cannot be read.

    Args:
        base: Predictions of the model before tuning.
        plan: The plan of compute_train_steps; its estimate comes off max_cost_usd first.
        judge_model: Such as gemini-3.5-flash; empty asks no judge.
        region: Where the texts may go.
        prompt: A template with $input, $reference, $first and $second; empty: the default one.
        max_cost_usd: Above this estimate nothing is asked, and the step succeeds; 0 sets no limit.
        work_dir: A folder where replies are kept as they come; a killed step continues from there
            and pays for no reply twice. Empty keeps none.

    Returns:
        judgement: What the judge said, with its prompt and cost, as JSON; empty without a judge.
        Output: better, worse or not-enough-evidence; empty where nothing was judged.
    """
    from tunepipe.catalog.catalog import load_catalog
    from tunepipe.steps.judging import judge_step

    who = {"model": judge_model, "project": project, "region": region, "prompt": prompt}
    how = {"max_cost_usd": max_cost_usd, "work_dir": work_dir, "must_be_readable": True}
    how["catalog"] = load_catalog(tables)
    return judge_step({"tuned": tuned, "base": base}, plan, judgement.path, **who, **how)


@component
def import_evaluation(
    tuning: Input[Artifact], comparison: Input[Artifact], pipeline_job: str = ""
) -> str:
    """Import the tuned model's evaluation into the Vertex Model Registry, once.

    Args:
        tuning: What the tuning step wrote; it names the model.
        pipeline_job: The resource name of the pipeline's job, which the console then links to.

    Returns:
        Output: The evaluation's resource name; or why there is none, as for a model whose weights
            lie on gs:// and not in the registry.
    """
    from tunepipe.registry.evaluations import import_step

    return import_step(tuning.path, comparison.path, pipeline_job)
