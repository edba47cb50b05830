"""The tuning pipeline: the order of its steps, nothing else.

prepare -> validate -> split -> plan steps and cost -> tune -> evaluate all models -> compare
    -> conclude (judge, report, promote or keep)

Whatever happens, the exit task tells people. Over data that the series has seen, the first step is
the last one.
"""

from collections.abc import Callable, Sequence
from typing import Any

from kfp import dsl

from tunepipe.catalog.backends import find_backend
from tunepipe.catalog.catalog import load_catalog
from tunepipe.pipelines.steps import Steps, thin_component


def build_tuning_pipeline(
    backend: str,
    tune_instead: Callable[..., Any] | None = None,
    emails: Sequence[str] = (),
) -> Any:
    """Compose the tuning pipeline for one backend; every backend has the same steps and ports.

    Args:
        backend: A name of the table of backends.
        tune_instead: Composes the tuning from other steps than the backend's own; it takes the
            steps that carry no code and what the backend's step takes; its result has the same
            outputs.
        emails: Addresses that Vertex AI mails when a run ends; other hosts do not have that step.

    Returns:
        A kfp pipeline, to compile or to run.
    """
    in_cloud = find_backend(backend).in_cloud

    # Not "tune-local": kfp takes a pipeline with the name of a component for the component.
    @dsl.pipeline(name=f"tunepipe-{backend}")
    def tuning_pipeline(
        dataset_uri: str,
        project: str = "",
        region: str = "",
        format: str = "auto",
        base_model: str = load_catalog().find_model(backend=backend).name,
        eval_fraction: float = 0.1,
        eval_min: int = 10,
        eval_max: int = 0,
        group_by: str = "",
        stratify_by: str = "",
        by_time: str = "",
        epochs: float = 0.0,
        train_steps: int = 0,
        learning_rate_multiplier: float = 1.0,
        seed: int = 0,
        max_cost_usd: float = 0.0,
        tables: dict = {},  # noqa: B006
        options: dict = {},  # noqa: B006
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
        asking: dict = {},  # noqa: B006
        registry: str = "",
        work_dir: str = "",
        run: dict = {},  # noqa: B006
        run_id: str = "",
        series: str = "",
        min_new_rows: int = 0,
        display_name: str = "tunepipe",
        notify: str = "",
        code: str = "",
    ):
        """Validate, split, plan, tune, evaluate, compare, and promote only what is better.

        Args:
            dataset_uri: A path, a gs:// URI, or a glob of either, of JSON Lines.
            project: The Google Cloud project that pays; empty for local.
            region: Where everything runs; empty for local.
            format: The rows' format, or auto.
            base_model: The model to tune.
            eval_fraction: The share of rows held out.
            eval_min: Minimum number of held-out rows.
            eval_max: Maximum number of held-out rows; 0 leaves it to the service's limit.
            group_by: Rows that agree in this field stay on one side.
            stratify_by: A field, or `output`, whose values are held out in equal shares.
            by_time: A field with a time; the latest rows are held out.
            epochs: Passes over the rows; 0 takes train_steps, or the recommendation.
            train_steps: Optimizer steps; 0 takes epochs.
            learning_rate_multiplier: Times the recommended rate; 1.0 is recommended.
            seed: Seeds the split, the tuning and the statistics.
            max_cost_usd: Stop before tuning above this estimate; 0 sets no limit.
            tables: Values that replace those of the package's dated tables.
            options: Options of the backend.
            task: text, classification, json, calls, or auto.
            metric: The metric that decides: a name, module:function, regex:, schema: or number:;
                empty takes the task's.
            scoring: normalize, missing, slice_by, metric_code, max_latency_ms,
                max_cost_per_answer.
            margin: Largest acceptable loss against the champion, 0 to 1.
            guard_uri: Rows with prompts that must not get worse; empty guards nothing.
            guard_margin: Largest acceptable loss on them, 0 to 1.
            judge_model: A Gemini that compares the answers too and decides nothing; empty asks
                none. Needs a project and a region.
            judge_prompt: Its prompt; empty takes the package's own.
            max_output_tokens: The longest answer, in tokens.
            answers: How many answers to ask for to each held-out row.
            asking: How a remote model is asked: requests_per_minute, workers, attempts.
            registry: Where the champion is recorded; empty promotes nothing.
            work_dir: Where a killed step, or the next run, finds what was done and paid.
            run: Texts that name the run in the report.
            run_id: The run, as promotions record it; empty takes the job's name.
            series: The runs, such as a schedule's, that this one continues: over data that the
                last of them has seen, nothing is done. Empty always runs.
            min_new_rows: A run of a series needs at least this number of added or changed rows.
            display_name: The tuned model's display name, if a service keeps it.
            notify: Where the address of a webhook is kept that gets a message when the run ends:
                projects/P/secrets/NAME, a gs:// URI, or a file. Empty sends none.
            code: What each step installs first: a wheel's URL with its hash, a requirement, a
                wheelhouse's folder; empty if the image has tunepipe. See docs/deploying.md.
        """
        place = {"project": project, "region": region}
        names = {"run_id": run_id, "job": dsl.PIPELINE_JOB_NAME_PLACEHOLDER}
        history = {"registry": registry, "series": series, "format": format}
        step = Steps(code)
        notice = _uncached(step.send_notice(notify=notify, registry=registry, **names))
        with dsl.ExitHandler(notice) as steps:
            prepared = _uncached(
                step.prepare_run(
                    dataset_uri=dataset_uri,
                    backend=backend,
                    base_model=base_model,
                    options=options,
                    tables=tables,
                    task=task,
                    metric=metric,
                    scoring=scoring,
                    margin=margin,
                    guard_uri=guard_uri,
                    guard_margin=guard_margin,
                    judge_model=judge_model,
                    judge_prompt=judge_prompt,
                    max_output_tokens=max_output_tokens,
                    answers=answers,
                    group_by=group_by,
                    asking=asking,
                    seed=seed,
                    min_new_rows=min_new_rows,
                    inlined=bool(tune_instead),
                    **(place | {"root": dsl.PIPELINE_ROOT_PLACEHOLDER} if in_cloud else {}),
                    **history,
                    **names,
                )
            )
            data = {"dataset_uri": dataset_uri, "fingerprint": prepared.outputs["fingerprint"]}
            # A gate on an output called `Output`: kfp.local takes a condition on any other for
            # false, and calls the run a success.
            with dsl.If(prepared.outputs["Output"] == "changed"):
                valid = step.validate_jsonl(**data, format=format, model=base_model)
                split = step.split_dataset(
                    **data,
                    format=valid.outputs["format"],
                    model=base_model,
                    eval_fraction=eval_fraction,
                    eval_min=eval_min,
                    eval_max=eval_max,
                    seed=seed,
                    group_by=group_by,
                    stratify_by=stratify_by,
                    by_time=by_time,
                )
                _retried(split)
                plan = step.compute_train_steps(
                    rows=split.outputs["train_rows"],
                    backend=backend,
                    model=base_model,
                    region=region,
                    epochs=epochs,
                    train_steps=train_steps,
                    tokens=valid.outputs["tokens"],
                    token_rows=valid.outputs["rows"],
                    max_cost_usd=max_cost_usd,
                    tables=tables,
                    eval=split.outputs["eval"],
                    scoring=prepared.outputs["scoring"],
                    asking=prepared.outputs["asking"],
                    judging=prepared.outputs["judging"],
                    options=options,
                )
                tuned = _tune(
                    step,
                    backend,
                    tune_instead,
                    here={"seed": seed, "work_dir": work_dir},
                    remote={**place, "display_name": display_name},
                    tables=tables,
                    train=split.outputs["train"],
                    eval=split.outputs["eval"],
                    train_steps=plan.outputs["train_steps"],
                    batch_size=plan.outputs["batch_size"],
                    base_model=base_model,
                    learning_rate_multiplier=learning_rate_multiplier,
                    options=options,
                )
                predictions = _evaluate(
                    step,
                    backend,
                    base_model,
                    model=tuned.outputs["model"],
                    base=tuned.outputs["base"],
                    champion=prepared.outputs["champion"],
                    first=prepared.outputs["first"],
                    eval=split.outputs["eval"],
                    guard_uri=guard_uri,
                    guard_fingerprint=prepared.outputs["guard_fingerprint"],
                    settings=prepared.outputs["asking"],
                    work_dir=work_dir,
                )
                compared = step.compare_models(
                    **predictions,
                    tuning=tuned.outputs["tuning"],
                    settings=prepared.outputs["scoring"],
                )
                _retried(compared)
                _uncached(
                    step.conclude_run(
                        comparison=compared.outputs["comparison"],
                        model=tuned.outputs["model"],
                        **{name: predictions[name] for name in ("tuned", "base", "champion")},
                        problems=valid.outputs["problems"],
                        split=split.outputs["split"],
                        plan=plan.outputs["plan"],
                        tuning=tuned.outputs["tuning"],
                        judging=prepared.outputs["judging"],
                        max_cost_usd=max_cost_usd,
                        tables=tables,
                        work_dir=work_dir,
                        run=run,
                        # kfp.local does not know this placeholder.
                        pipeline_job=dsl.PIPELINE_JOB_RESOURCE_NAME_PLACEHOLDER if in_cloud else "",
                        **data,
                        **history,
                        **names,
                        **place,
                    )
                )
        if emails:
            _mail(emails, steps)

    return tuning_pipeline


def _retried(task: Any) -> Any:
    """Try a step again that costs nothing and fails on what the cloud may get over."""
    task.set_retry(num_retries=2, backoff_duration="60s", backoff_factor=2.0)
    return task


def _uncached(task: Any) -> Any:
    """Run a step in every run: it looks at, or changes, what lies outside the pipeline."""
    task.set_caching_options(False)
    return task


def _tune(
    step: Steps,
    backend: str,
    instead: Callable[..., Any] | None,
    here: dict[str, Any],
    remote: dict[str, Any],
    tables: Any,
    **settings: Any,
) -> Any:
    """Add the step that tunes: in the cloud, on this machine, or its stand-in."""
    if instead:
        return instead(step, **settings, **remote)
    row = find_backend(backend)
    tune = getattr(step, f"tune_{row.identifier}")
    if row.in_cloud:
        return tune(**settings, **remote, tables=tables)
    return tune(**settings, **here)


def _evaluate(step: Steps, backend: str, base_model: Any, **settings: Any) -> dict[str, Any]:
    """Add the step that asks all models; return the predictions by the name of the model."""
    row = find_backend(backend)
    name = f"evaluate_{row.identifier if row.in_cloud else 'model'}"
    if "base_model" in thin_component(name).component_spec.inputs:
        settings["base_model"] = base_model
    outputs = getattr(step, name)(**settings).outputs
    return {
        "tuned": outputs["predictions"],
        "base": outputs["base_predictions"],
        "champion": outputs["champion_predictions"],
        "first": outputs["first_predictions"],
        "guard_tuned": outputs["guard_predictions"],
        "guard_base": outputs["guard_base_predictions"],
    }


def _mail(emails: Sequence[str], steps: Any) -> None:
    """Have Vertex AI mail how the steps ended.

    kfp takes one exit task; another task that waits for the steps, however they end, compiles to
    the same.
    """
    from google_cloud_pipeline_components.v1.vertex_notification_email import (
        VertexNotificationEmailOp,
    )

    mailed = VertexNotificationEmailOp(recipients=list(emails))
    mailed.after(steps).ignore_upstream_failure().set_caching_options(False)
