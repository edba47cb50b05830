"""The steps that tune and ask PaLM models on Vertex AI."""

from typing import NamedTuple

from kfp.dsl import Artifact, Dataset, Input, Model, Output

from tunepipe.components.families import asking, tuning, tuning_in_cloud
from tunepipe.packaging.component import component, thin
from tunepipe.packaging.families import with_ports


@component
@with_ports(tuning, tuning_in_cloud)
def tune_large_model(batch_size: int = 1, base_model: str = "text-bison@001", **ports):
    """Tune a PaLM model through Google's template tune-large-model, as a child pipeline job.

    Google refused new tunings of these models from 2024-10-09 and shut them down on 2025-04-09.

    Args:
        train: The rows to learn from, on gs://.
        eval: The rows held out, 10 to 256; chat models are tuned without them.
        region: us-central1 trains on GPUs, europe-west4 on TPUs; nothing runs elsewhere.
        batch_size: Rows a step, for the report; the template chooses its own.
        base_model: text-bison, code-bison, chat-bison or codechat-bison, with or without a version.
        options: The template's other parameters by name, and template_version, pipeline_root,
            service_account, network, again, poll_seconds, patience_seconds, first_job_seconds.

    Returns:
        model: The endpoint of the tuned model.
    """
    from tunepipe.backends.palm import tuning as palm
    from tunepipe.steps.tuning import tune

    tune(palm, ports, base_model=base_model, batch_size=batch_size)


@component
@with_ports(asking)
def evaluate_large_model(base_model: str = "text-bison@001", **ports):
    """Ask PaLM models every held-out row, side by side.

    Unanswered rows are counted, and never scored as wrong. A model that is not given is not asked,
    and its predictions are an empty file. All models share one limit on requests.

    Args:
        base_model: Says whether the tuned model is a chat model.
        settings: temperature, workers, requests_per_minute, attempts.
    """
    from tunepipe.backends.palm import prediction
    from tunepipe.steps.evaluation import evaluate_step

    return evaluate_step(prediction, "large-model", ports, base_model=base_model)


class TemplateInputs(NamedTuple):
    """The inputs of Google's template that prepare_template works out."""

    location: str
    accelerator_type: str
    dataset_uri: str
    evaluation_data_uri: str
    evaluation_interval: int
    enable_early_stopping: bool
    enable_checkpoint_selection: str
    default_context: str
    tensorboard_resource_id: str
    encryption_spec_key_name: str
    tpu_training_skip_cmek: bool
    tuning_method: str


@thin
def prepare_template(
    train: Input[Dataset],
    eval: Input[Dataset],
    project: str,
    region: str,
    train_steps: int,
    template_sha256: str,
    batch_size: int = 1,
    base_model: str = "text-bison@001",
    learning_rate_multiplier: float = 1.0,
    display_name: str = "tunepipe",
    options: dict = {},  # noqa: B006
) -> TemplateInputs:
    """Check what goes into the template before an hour of accelerators is paid for.

    The inputs are those of tune_large_model, and the SHA-256 of the template that the pipeline was
    compiled with; the outputs are the template's own inputs.
    """
    from tunepipe.backends.base import TuningRequest
    from tunepipe.backends.palm.parameters import template_defaults
    from tunepipe.backends.palm.tuning import check_with_rows

    place = {"project": project, "region": region, "display_name": display_name}
    what = {"base_model": base_model, "train_steps": train_steps, "batch_size": batch_size}
    what |= {"options": options, "learning_rate_multiplier": learning_rate_multiplier}
    request = TuningRequest(train_uri=train.uri, eval_uri=eval.uri, **place, **what)
    values = template_defaults() | check_with_rows(request)
    return TemplateInputs(*(values[name] for name in TemplateInputs._fields))


@thin
def keep_template_model(
    model: Output[Model],
    base: Output[Model],
    tuning: Output[Artifact],
    model_resource_name: str,
    endpoint_resource_name: str,
    project: str,
    region: str,
    train_steps: int,
    template_sha256: str,
    base_model: str = "text-bison@001",
):
    """Hand the template's model on as the artifacts that the steps behind it take."""
    from dataclasses import asdict

    from tunepipe.backends.base import TuningResult
    from tunepipe.backends.palm.tuning import base_model_resource
    from tunepipe.files import write_json
    from tunepipe.steps.artifacts import point_at

    before = base_model_resource(base_model, project, region)
    statistics = {"train_steps": train_steps, "template_sha256": template_sha256}
    tuned = TuningResult(model_resource_name, endpoint_resource_name, statistics, base=before)
    point_at(model, endpoint_resource_name)
    point_at(base, before)
    write_json(asdict(tuned), tuning.path)
