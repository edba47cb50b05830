"""The steps that tune open models, and ask an endpoint that serves one."""

from tunepipe.components.families import asking, tuning, tuning_in_cloud
from tunepipe.packaging.component import component
from tunepipe.packaging.families import with_ports


@component
@with_ports(tuning, tuning_in_cloud)
def tune_open_model(batch_size: int = 8, base_model: str = "qwen/qwen3@qwen3-4b", **ports):
    """Tune an open model (Llama, Gemma, Qwen…) through a managed tuning job.

    The job leaves weights in Cloud Storage. Serving them takes GPUs that are paid by the hour, so
    no endpoint is made; one that the options name is evaluated.

    Args:
        train: The rows to learn from, on gs://, in any format; converted where need be.
        eval: The rows held out, at most 5,000 and a quarter of the training file's bytes.
        region: Where the job runs; the option location may say global.
        train_steps: Optimizer steps of the plan; they make the whole epochs that the job is given.
        batch_size: Rows a step, as the plan took it; the service chooses its own.
        base_model: The exact, versioned name, such as meta/llama3_1@llama-3.1-8b.
        options: location, fallback_locations, tuning_mode, adapter_size, learning_rate,
            batch_size, output_uri, endpoint, base_endpoint, custom_base_model,
            encryption_spec_key_name, service_account, description, dropped_fraction_max, again,
            poll_seconds, patience_seconds.

    Returns:
        model: The endpoint that the options name, else the folder of the weights.
        base: The base model's endpoint, else its name.
    """
    from tunepipe.backends.managed import open_model
    from tunepipe.steps.tuning import tune

    tune(open_model, ports, base_model=base_model, batch_size=batch_size)


@component
@with_ports(asking)
def evaluate_open_model(**ports):
    """Ask the endpoints of open models every held-out row, side by side.

    Unanswered rows are counted, and never scored as wrong. A model that is not given is not asked,
    and its predictions are an empty file. All models share one limit on requests.

    Args:
        model: The tuned model's endpoint. Weights without one leave every row unanswered.
        settings: temperature, request_format (chat or prompt), workers, requests_per_minute,
            attempts.
    """
    from tunepipe.backends.managed import open_model_prediction
    from tunepipe.steps.evaluation import evaluate_step

    return evaluate_step(open_model_prediction, "open-model", ports)
