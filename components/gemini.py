"""The steps that tune and ask Gemini."""

from tunepipe.components.families import asking, tuning, tuning_in_cloud
from tunepipe.packaging.component import component
from tunepipe.packaging.families import with_ports


@component
@with_ports(tuning, tuning_in_cloud)
def tune_gemini(batch_size: int = 8, base_model: str = "gemini-3.5-flash", **ports):
    """Tune a Gemini through a managed tuning job, and compare what the job did with the plan.

    Args:
        train: The rows to learn from, on gs://, in any format; converted where need be.
        eval: The rows held out, at most 5,000.
        region: Where the job runs, such as us-central1 or europe-west4.
        train_steps: Optimizer steps of the plan; they make the whole epochs that the job is given.
        batch_size: Rows a step, as the plan took it; the service chooses its own.
        base_model: A model's name, or projects/P/locations/R/models/M@VERSION to tune further.
        options: location, adapter_size, method, beta, export_last_checkpoint_only,
            select_checkpoint, checkpoint_id, encryption_spec_key_name, service_account,
            description, dropped_fraction_max, base_location, base_endpoint, again, poll_seconds,
            patience_seconds.

    Returns:
        model: The endpoint of the tuned model.
    """
    from tunepipe.backends.managed import gemini, gemini_prediction
    from tunepipe.steps.tuning import tune

    tune(gemini, ports, predictor=gemini_prediction, base_model=base_model, batch_size=batch_size)


@component
@with_ports(asking)
def evaluate_gemini(base_model: str = "gemini-3.5-flash", **ports):
    """Ask Gemini models every held-out row, side by side.

    Unanswered rows are counted, and never scored as wrong. A model that is not given is not asked,
    and its predictions are an empty file. All models share one limit on requests.

    Args:
        base_model: Says how little the tuned model may think before it answers.
        settings: temperature, seed, top_p, thinking_level, thinking_budget, workers,
            requests_per_minute, attempts.
    """
    from tunepipe.backends.managed import gemini_prediction
    from tunepipe.steps.evaluation import evaluate_step

    return evaluate_step(gemini_prediction, "gemini", ports, base_model=base_model)
