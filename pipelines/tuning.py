"""The tuning pipeline: the order of its steps, nothing else.

prepare -> validate -> split -> plan steps and cost -> tune -> evaluate all models -> compare
    -> conclude (judge, report, promote or keep)

Whatever happens, the exit task notifies people. Over data that the series has seen, the first step
is the last one.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from kfp import dsl

from tunepipe.catalog.backends import Backend, find_backend
from tunepipe.catalog.catalog import load_catalog
from tunepipe.components import prepare_template
from tunepipe.pipelines.steps import Steps

# What the first step has put into the settings that the later ones get from it.
_SETTLED = dict.fromkeys(("task", "margin", "guard_margin", "max_output_tokens", "seed"))


def build_tuning_pipeline(
    backend: str,
    *,
    template: Any = None,
    template_sha256: str = "",
    emails: Sequence[str] = (),
) -> Any:
    """Compose the tuning pipeline for one backend; every backend has the same steps and ports.

    Args:
        backend: A name of the table of backends.
        template: Google's template, loaded as a component: it then is a part of the pipeline, in
            place of the step that launches it.
        template_sha256: Of the template's bytes; it goes with the run.
        emails: Addresses that Vertex AI mails when a run ends; other hosts do not have that step.

    Returns:
        A kfp pipeline, to compile or to run.
    """

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
        step, row = Steps(locals()), find_backend(backend)
        notice = step.send_notice(job=dsl.PIPELINE_JOB_NAME_PLACEHOLDER)
        with dsl.ExitHandler(notice) as steps:
            prepared = _prepare(step, row, inlined=template is not None)
            # A gate on an output called `Output`: kfp.local takes a condition on any other for
            # false, and calls the run a success.
            with dsl.If(prepared.outputs["Output"] == "changed"):
                fingerprint = prepared.outputs["fingerprint"]
                valid = step.validate_jsonl(fingerprint=fingerprint, model=base_model)
                split = step.split_dataset(
                    fingerprint=fingerprint, format=valid.outputs["format"], model=base_model
                )
                plan = _plan(step, prepared, valid, split, row)
                tune = getattr(step, f"tune_{row.identifier}")
                if template:
                    tune = partial(_tune_by_template, step, template, template_sha256)
                tuned = tune(
                    **{name: split.outputs[name] for name in ("train", "eval")},
                    **{name: plan.outputs[name] for name in ("train_steps", "batch_size")},
                )
                asked = _evaluate(step, prepared, split, tuned, row)
                compared = step.compare_models(
                    **asked,
                    **_SETTLED,
                    tuning=tuned.outputs["tuning"],
                    settings=prepared.outputs["scoring"],
                )
                reports = {"problems": valid, "split": split, "plan": plan, "tuning": tuned}
                _conclude(step, prepared, tuned, asked, compared, reports, row)
        if emails:
            _mail(emails, steps)

    return tuning_pipeline


def _prepare(step: Steps, backend: Backend, *, inlined: bool) -> Any:
    """Check what costs nothing, and find what exactly the run works on."""
    in_cloud = {"root": dsl.PIPELINE_ROOT_PLACEHOLDER}
    return step.prepare_run(
        backend=backend.name,
        inlined=inlined or None,
        job=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
        **(in_cloud if backend.in_cloud else {"project": None, "region": None}),
    )


def _plan(step: Steps, prepared: Any, valid: Any, split: Any, backend: Backend) -> Any:
    """Turn epochs into steps, and stop a run that would cost too much."""
    settled = {name: prepared.outputs[name] for name in ("scoring", "asking", "judging")}
    return step.compute_train_steps(
        **_SETTLED,
        **settled,
        backend=backend.name,
        model=step.parameters["base_model"],
        rows=split.outputs["train_rows"],
        eval=split.outputs["eval"],
        tokens=valid.outputs["tokens"],
        token_rows=valid.outputs["rows"],
    )


def _tune_by_template(
    step: Steps, template: Any, sha256: str, *, train_steps: Any, **inputs: Any
) -> Any:
    """Tune by Google's template; the task hands over the outputs of tune_large_model."""
    checked = step.prepare_template(template_sha256=sha256, train_steps=train_steps, **inputs)
    values = {
        "project": step.parameters["project"],
        "model_display_name": step.parameters["display_name"],
        "large_model_reference": step.parameters["base_model"],
        "train_steps": train_steps,
        "learning_rate_multiplier": step.parameters["learning_rate_multiplier"],
        **{name: checked.outputs[name] for name in prepare_template.component_spec.outputs},
    }
    # The template's interface has changed under one tag: what this one lacks is not passed.
    declared = template.component_spec.inputs
    tuned = template(**{name: value for name, value in values.items() if name in declared})
    return step.keep_template_model(
        model_resource_name=tuned.outputs["model_resource_name"],
        endpoint_resource_name=tuned.outputs["endpoint_resource_name"],
        train_steps=train_steps,
        template_sha256=sha256,
    )


def _evaluate(
    step: Steps, prepared: Any, split: Any, tuned: Any, backend: Backend
) -> dict[str, Any]:
    """Add the step that asks all models; return the predictions by the name of the model."""
    name = f"evaluate_{backend.identifier if backend.in_cloud else 'model'}"
    outputs = getattr(step, name)(
        **_SETTLED,
        **{name: prepared.outputs[name] for name in ("champion", "first", "guard_fingerprint")},
        **{name: tuned.outputs[name] for name in ("model", "base")},
        eval=split.outputs["eval"],
        settings=prepared.outputs["asking"],
    ).outputs
    return {
        "tuned": outputs["predictions"],
        "base": outputs["base_predictions"],
        "champion": outputs["champion_predictions"],
        "first": outputs["first_predictions"],
        "guard_tuned": outputs["guard_predictions"],
        "guard_base": outputs["guard_base_predictions"],
    }


def _conclude(
    step: Steps,
    prepared: Any,
    tuned: Any,
    asked: dict[str, Any],
    compared: Any,
    reports: dict[str, Any],
    backend: Backend,
) -> None:
    """Judge, report, promote what is better, and remember the data."""
    job = dsl.PIPELINE_JOB_RESOURCE_NAME_PLACEHOLDER
    step.conclude_run(
        comparison=compared.outputs["comparison"],
        model=tuned.outputs["model"],
        **{name: asked[name] for name in ("tuned", "base", "champion")},
        **{name: task.outputs[name] for name, task in reports.items()},
        **{name: prepared.outputs[name] for name in ("fingerprint", "judging")},
        # kfp.local does not know this placeholder.
        pipeline_job=job if backend.in_cloud else "",
        job=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
    )


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
