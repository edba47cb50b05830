"""A pipeline with the interface of Google's tune-large-model; what is inside is ours.

Same name, same 21 inputs with types and defaults, same two outputs, same names of the tasks that
clients look for. It checks what the template checks, trains nothing, and registers a model that
remembers the training rows. Nothing here shows that Google's template works.

    python -m tests.standin.large_model_template NAME OUT.yaml
"""

import sys
from typing import Any, NamedTuple

from kfp import compiler, dsl

component = dsl.component(base_image="python:3.11", install_kfp_package=False)


@component
def validate_pipeline(
    location: str,
    accelerator_type: str,
    encryption_spec_key_name: str,
    tpu_training_skip_cmek: bool,
) -> str:
    import os

    regions = [
        *("us-central1", "us-east4", "us-west1", "us-west4", "northamerica-northeast1"),
        *("europe-west1", "europe-west2", "europe-west3", "europe-west4", "europe-west9"),
        *("asia-northeast1", "asia-northeast3", "asia-southeast1"),
    ]
    region = os.environ["STANDIN_REGION"]
    if region not in regions:
        raise ValueError(f"Unsupported pipeline region {region}.")
    has_key = bool(encryption_spec_key_name)
    if not accelerator_type:
        if location != "us-central1" or region not in ("us-central1", "europe-west4"):
            raise ValueError("Tuning is only supported in us-central1.")
        training = region
    else:
        training = {"TPU": "europe-west4", "GPU": "us-central1"}[accelerator_type]
    if has_key and training == "europe-west4" and not tpu_training_skip_cmek:
        raise ValueError("encryption_spec_key_name is not supported with TPU training.")
    if has_key and training == "us-central1" and (location, region) != (training, training):
        raise ValueError("With a key, GPU training needs us-central1 throughout.")
    return training


@component
def preprocess_dataset(uri: str, least: int, most: int, field: str) -> int:
    import json
    import os

    if not uri:
        return 0
    if not uri.startswith("gs://"):
        raise ValueError(f"Dataset {uri} is no gs:// URI.")
    path = os.path.join(os.environ["STANDIN_BUCKETS"], uri.removeprefix("gs://"))
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line for line in file if line.strip()]
    except FileNotFoundError:
        lines = []
    if len(lines) < least:
        raise ValueError(f"Dataset is inaccessible or contains less than {least} entries")
    if most and len(lines) > most:
        raise ValueError(f"Dataset exceeded the max number of examples: {most}")
    for number, line in enumerate(lines, 1):
        if field not in json.loads(line):
            raise ValueError(f"Cannot decode training example at line {number}")
    return len(lines)


@component
def large_language_model_tuner(
    rows: int, evaluation_rows: int, train_steps: int, training_region: str
) -> str:
    import time

    time.sleep(0.2)
    return f"{training_region}: {train_steps} steps over {rows} rows"


@component
def upload_llm_model(
    adapter: str, location: str, model_display_name: str, large_model_reference: str
) -> str:
    import json
    import os
    import urllib.request

    body = {"location": location, "display_name": model_display_name, "adapter": adapter}
    body["base"] = large_model_reference
    request = urllib.request.Request(
        os.environ["STANDIN_ADMIN"] + "/models", json.dumps(body).encode(), method="POST"
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["name"]


@component
def create_endpoint_and_deploy_model(
    model: str,
    location: str,
    model_display_name: str,
    dataset_uri: str,
    evaluation_data_uri: str,
) -> str:
    import json
    import os
    import urllib.request

    body = {"location": location, "display_name": model_display_name, "model": model}
    body |= {"dataset_uri": dataset_uri, "evaluation_data_uri": evaluation_data_uri}
    request = urllib.request.Request(
        os.environ["STANDIN_ADMIN"] + "/endpoints", json.dumps(body).encode(), method="POST"
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["name"]


class Deployed(NamedTuple):
    model_resource_name: str
    endpoint_resource_name: str


def build(name: str) -> Any:
    """Compose the template of that name."""
    field = "input_text" if name == "tune-large-model" else "messages"

    @dsl.pipeline(name="tuning-graph")
    def tuning_graph(
        dataset_uri: str, evaluation_data_uri: str, train_steps: int, training_region: str
    ) -> str:
        rows = preprocess_dataset(uri=dataset_uri, least=10, most=0, field=field)
        held_out = preprocess_dataset(uri=evaluation_data_uri, least=10, most=256, field=field)
        trained = large_language_model_tuner(
            rows=rows.output,
            evaluation_rows=held_out.output,
            train_steps=train_steps,
            training_region=training_region,
        )
        return trained.output

    @dsl.pipeline(name="deployment-graph")
    def deployment_graph(
        adapter: str,
        location: str,
        model_display_name: str,
        large_model_reference: str,
        dataset_uri: str,
        evaluation_data_uri: str,
    ) -> Deployed:
        uploaded = upload_llm_model(
            adapter=adapter,
            location=location,
            model_display_name=model_display_name,
            large_model_reference=large_model_reference,
        )
        deployed = create_endpoint_and_deploy_model(
            model=uploaded.output,
            location=location,
            model_display_name=model_display_name,
            dataset_uri=dataset_uri,
            evaluation_data_uri=evaluation_data_uri,
        )
        return Deployed(uploaded.output, deployed.output)

    @dsl.pipeline(name=name)
    def template(
        project: str,
        model_display_name: str,
        location: str = "",
        large_model_reference: str = "text-bison@001",
        dataset_uri: str = "",
        dataset_name: str = "",
        train_steps: int = 300,
        tuning_method: str = "tune_v2",
        learning_rate: float = -1.0,
        learning_rate_multiplier: float = 1.0,
        accelerator_type: str = "",
        default_context: str = "",
        evaluation_data_uri: str = "",
        evaluation_interval: int = 20,
        enable_early_stopping: bool = True,
        enable_checkpoint_selection: str = "default",
        evaluation_output_root_dir: str = "",
        tensorboard_resource_id: str = "",
        encryption_spec_key_name: str = "",
        tpu_training_skip_cmek: bool = False,
        api_endpoint: str = "aiplatform.googleapis.com/ui",
    ) -> Deployed:
        checked = validate_pipeline(
            location=location,
            accelerator_type=accelerator_type,
            encryption_spec_key_name=encryption_spec_key_name,
            tpu_training_skip_cmek=tpu_training_skip_cmek,
        )
        tuned = tuning_graph(
            dataset_uri=dataset_uri,
            evaluation_data_uri=evaluation_data_uri,
            train_steps=train_steps,
            training_region=checked.output,
        )
        deployed = deployment_graph(
            adapter=tuned.output,
            location=location,
            model_display_name=model_display_name,
            large_model_reference=large_model_reference,
            dataset_uri=dataset_uri,
            evaluation_data_uri=evaluation_data_uri,
        )
        return Deployed(
            deployed.outputs["model_resource_name"], deployed.outputs["endpoint_resource_name"]
        )

    return template


if __name__ == "__main__":
    compiler.Compiler().compile(build(sys.argv[1]), sys.argv[2])
