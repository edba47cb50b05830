"""The tuning pipeline: the order of its steps, nothing else.

(check the project ->) fingerprint -> changed? -> validate -> split -> plan steps and cost -> tune
    -> evaluate tuned | evaluate base | evaluate champion
    -> compare (and, where asked for, a model as judge) -> promote, or keep the champion

Whatever happens, the exit task tells people.
"""

from collections.abc import Callable, Sequence
from typing import Any

from kfp import dsl

from tunepipe.catalog.catalog import load_catalog
from tunepipe.components import (
    check_cloud,
    compare_data,
    compare_models,
    compute_train_steps,
    evaluate_gemini,
    evaluate_large_model,
    evaluate_model,
    evaluate_open_model,
    find_changes,
    fingerprint_dataset,
    import_evaluation,
    judge_models,
    keep_champion,
    load_rows,
    lookup_champion,
    promote_model,
    record_outcome,
    remember_data,
    report_unchanged,
    send_notice,
    split_dataset,
    tune_gemini,
    tune_large_model,
    tune_local,
    tune_open_model,
    validate_jsonl,
    write_report,
)

BACKENDS = ("local", "large-model", "gemini", "open-model")


def build_tuning_pipeline(
    backend: str,
    tune_instead: Callable[..., Any] | None = None,
    emails: Sequence[str] = (),
) -> Any:
    """Compose the tuning pipeline for one backend; every backend has the same steps and ports.

    Args:
        backend: One of BACKENDS.
        tune_instead: Composes the tuning from other steps than the backend's own; it takes what
            the backend's step takes, and its result has the same outputs.
        emails: Whom Vertex AI mails how a run ends; no other host has that step.

    Returns:
        A kfp pipeline, to compile or to run.
    """

    # Not "tune-local": kfp takes a pipeline that bears the name of a component for the component.
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
        margin: float = 0.0,
        guard_uri: str = "",
        guard_margin: float = 0.0,
        judge_model: str = "",
        judge_prompt: str = "",
        max_output_tokens: int = 256,
        asking: dict = {},  # noqa: B006
        registry: str = "",
        work_dir: str = "",
        run: dict = {},  # noqa: B006
        run_id: str = "",
        series: str = "",
        min_new_rows: int = 0,
        display_name: str = "tunepipe",
        notify: str = "",
    ):
        """Validate, split, plan, tune, evaluate, compare, and promote only what is better.

        Args:
            dataset_uri: A path, a gs:// URI, or a glob of either, of JSON Lines.
            project: The Google Cloud project that pays; empty locally.
            region: Where everything runs; empty locally.
            format: The rows' format, or auto.
            base_model: The model to tune.
            eval_fraction: The share of rows held out.
            eval_min: At least so many rows are held out.
            eval_max: Maximum number of held-out rows; 0 = the limit of the service.
            group_by: Rows that agree in this field stay on one side.
            stratify_by: A field, or `output`, whose values are held out in equal shares.
            by_time: A field with a time; the latest rows are held out.
            epochs: Passes over the rows; 0 takes train_steps, or the recommendation.
            train_steps: Optimizer steps; 0 takes epochs.
            learning_rate_multiplier: Times the recommended rate; 1.0 is recommended.
            seed: Seeds the split, the tuning and the statistics.
            max_cost_usd: Stop before tuning above this estimate; 0 sets no limit.
            tables: Values that replace those of the package's dated tables.
            options: Backend-specific options.
            task: text, classification, json, calls, or auto.
            margin: How much worse than the champion still counts as no worse.
            guard_uri: Rows with prompts that must not get worse; empty guards nothing.
            guard_margin: The loss on them that is still acceptable.
            judge_model: A Gemini that compares the answers too and decides nothing; empty asks
                none. Not locally.
            judge_prompt: What it is asked; empty takes our prompt.
            max_output_tokens: The longest answer, in tokens.
            asking: How a remote model is asked: requests_per_minute, workers, attempts.
            registry: Where the champion is recorded; empty promotes nothing.
            work_dir: Where a killed step finds what it had done.
            run: Texts that name the run in the report.
            run_id: The run, as promotions record it; empty takes the job's name.
            series: The runs, such as a schedule's, that this one continues: over data that the
                last of them has seen nothing is done. Empty always runs.
            min_new_rows: Fewer rows than these, added or changed, are not worth a run of a series.
            display_name: The tuned model's name for people, where a service keeps it.
            notify: Where the address of a webhook is kept that is told how the run ends:
                projects/P/secrets/NAME, a gs:// URI, or a file. Empty tells nobody.
        """
        ran = {"run_id": run_id, "job": dsl.PIPELINE_JOB_NAME_PLACEHOLDER}
        told = send_notice(notify=notify, registry=registry, **ran)
        told.set_caching_options(False)
        with dsl.ExitHandler(told) as steps:
            found = fingerprint_dataset(dataset_uri=dataset_uri)
            found.set_caching_options(False)
            if backend != "local":
                checked = check_cloud(
                    backend=backend,
                    project=project,
                    region=region,
                    root=dsl.PIPELINE_ROOT_PLACEHOLDER,
                    base_model=base_model,
                    options=options,
                    tables=tables,
                    inlined=bool(tune_instead),
                )
                checked.set_caching_options(False)
                found.after(checked)
            fingerprint = found.outputs["fingerprint"]
            data = {
                "dataset_uri": dataset_uri,
                "fingerprint": fingerprint,
                "registry": registry,
                "series": series,
                "format": format,
            }
            changes = find_changes(**data, min_new_rows=min_new_rows)
            changes.set_caching_options(False)
            # A gate on an output called `Output`, and If with Else: kfp.local takes any other
            # condition for false and calls the run a success.
            with dsl.If(changes.output == "changed"):
                champion = lookup_champion(registry=registry)
                champion.set_caching_options(False)
                valid = validate_jsonl(
                    dataset_uri=dataset_uri,
                    fingerprint=fingerprint,
                    format=format,
                    model=base_model,
                )
                split = split_dataset(
                    dataset_uri=dataset_uri,
                    fingerprint=fingerprint,
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
                guarded = load_rows(dataset_uri=guard_uri)
                guarded.set_caching_options(False)
                plan = compute_train_steps(
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
                    task=task,
                    margin=margin,
                    guard_margin=guard_margin,
                    max_output_tokens=max_output_tokens,
                    asking=asking,
                    judge_model=judge_model,
                    judge_prompt=judge_prompt,
                    seed=seed,
                    options=options,
                )
                plan.after(guarded)  # a guard that cannot be read must cost nothing
                tuned = _tune(
                    backend,
                    tune_instead,
                    here={"seed": seed, "work_dir": work_dir},
                    remote={"project": project, "region": region, "display_name": display_name},
                    tables=tables,
                    train=split.outputs["train"],
                    eval=split.outputs["eval"],
                    train_steps=plan.outputs["train_steps"],
                    batch_size=plan.outputs["batch_size"],
                    base_model=base_model,
                    learning_rate_multiplier=learning_rate_multiplier,
                    options=options,
                )
                held_out, frozen = split.outputs["eval"], guarded.outputs["rows"]
                predictions = {
                    name: _evaluate(
                        backend,
                        base_model,
                        model=model,
                        eval=rows,
                        max_output_tokens=max_output_tokens,
                        settings=asking,
                        work_dir=work_dir,
                    )
                    .set_display_name(f"evaluate {name}")
                    .after(plan)  # asking the champion costs money too
                    .outputs["predictions"]
                    for name, (model, rows) in {
                        "tuned": (tuned.outputs["model"], held_out),
                        "base": (tuned.outputs["base"], held_out),
                        "champion": (champion.outputs["champion"], held_out),
                        "guard_tuned": (tuned.outputs["model"], frozen),
                        "guard_base": (tuned.outputs["base"], frozen),
                    }.items()
                }
                compared = compare_models(
                    **predictions, task=task, margin=margin, guard_margin=guard_margin, seed=seed
                )
                judged = {}
                if backend != "local":
                    judged["judge"] = judge_models(
                        tuned=predictions["tuned"],
                        base=predictions["base"],
                        plan=plan.outputs["plan"],
                        judge_model=judge_model,
                        project=project,
                        region=region,
                        prompt=judge_prompt,
                        max_cost_usd=max_cost_usd,
                        tables=tables,
                        work_dir=work_dir,
                    ).outputs["judgement"]
                    import_evaluation(
                        tuning=tuned.outputs["tuning"],
                        comparison=compared.outputs["comparison"],
                        pipeline_job=dsl.PIPELINE_JOB_RESOURCE_NAME_PLACEHOLDER,
                    )
                compared_data = compare_data(
                    dataset_uri=dataset_uri,
                    fingerprint=fingerprint,
                    problems=valid.outputs["problems"],
                    registry=registry,
                    format=format,
                )
                compared_data.set_caching_options(False)
                written = write_report(
                    **judged,
                    changes=compared_data.outputs["changes"],
                    comparison=compared.outputs["comparison"],
                    **{name: predictions[name] for name in ("tuned", "base", "champion")},
                    problems=valid.outputs["problems"],
                    split=split.outputs["split"],
                    plan=plan.outputs["plan"],
                    tuning=tuned.outputs["tuning"],
                    run=run,
                )
                recorded = record_outcome(
                    comparison=compared.outputs["comparison"],
                    report=written.outputs["report"],
                    registry=registry,
                    **ran,
                )
                recorded.set_caching_options(False)
                with dsl.If(compared.outputs["Output"] == "better"):
                    moved = promote_model(
                        model=tuned.outputs["model"],
                        comparison=compared.outputs["comparison"],
                        registry=registry,
                        **ran,
                    )
                    remember_data(**data, **ran, problems=valid.outputs["problems"]).after(moved)
                with dsl.Else():
                    kept = keep_champion(
                        model=tuned.outputs["model"],
                        comparison=compared.outputs["comparison"],
                        registry=registry,
                    )
                    kept.set_caching_options(False)
                    remember_data(**data, **ran, problems=valid.outputs["problems"]).after(kept)
            with dsl.Else():
                ended = report_unchanged(registry=registry, series=series, **ran)
                ended.set_caching_options(False)
        if emails:
            _mail(emails, steps)

    return tuning_pipeline


def _mail(emails: Sequence[str], steps: Any) -> None:
    """Have Vertex AI mail how the steps ended.

    kfp takes one exit task; another task that waits for the steps, whatever they came to, compiles
    to the same.
    """
    from google_cloud_pipeline_components.v1.vertex_notification_email import (
        VertexNotificationEmailOp,
    )

    mailed = VertexNotificationEmailOp(recipients=list(emails))
    mailed.after(steps).ignore_upstream_failure().set_caching_options(False)


def _tune(
    backend: str,
    instead: Callable[..., Any] | None,
    here: dict[str, Any],
    remote: dict[str, Any],
    tables: Any,
    **settings: Any,
) -> Any:
    if instead:
        return instead(**settings, **remote)
    match backend:
        case "local":
            return tune_local(**settings, **here)
        case "gemini":
            return tune_gemini(**settings, **remote, tables=tables)
        case "open-model":
            return tune_open_model(**settings, **remote, tables=tables)
    return tune_large_model(**settings, **remote, tables=tables)


def _evaluate(backend: str, base_model: Any, **settings: Any) -> Any:
    match backend:
        case "local":
            return evaluate_model(**settings)
        case "gemini":
            return evaluate_gemini(**settings, base_model=base_model)
        case "open-model":
            return evaluate_open_model(**settings)
    return evaluate_large_model(**settings, base_model=base_model)
