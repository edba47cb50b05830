"""The step that asks a model every held-out question."""

from tunepipe.components.families import asking, tuning
from tunepipe.packaging.component import component
from tunepipe.packaging.families import with_ports


@component
@with_ports(asking)
def evaluate_model(**ports):
    """Ask models on this machine every held-out row, one model after the other.

    Unanswered rows are counted, and never scored as wrong. A model that is not given is not asked,
    and its predictions are an empty file. All models share one limit on requests.

    Args:
        model: The tuned model: a folder in Hugging Face layout or a hub id.
        settings: batch_size, engine, device, precision, four_bit, threads.
    """
    from tunepipe.backends.local import backend
    from tunepipe.steps.evaluation import evaluate_step

    return evaluate_step(backend, "local", ports)


@component
@with_ports(tuning)
def tune_local(
    batch_size: int = 16, base_model: str = "", seed: int = 0, work_dir: str = "", **ports
):
    """Tune a language model on this machine's CPU or GPU.

    Args:
        eval: The rows held out; they choose the checkpoint and never teach.
        batch_size: Rows a step.
        base_model: A folder in Hugging Face layout or a hub id; empty trains a tiny model from
            nothing.
        seed: Two runs with one seed on one machine give the same weights.
        options: What this backend alone knows: tuning_mode, lora_rank, processes, threads.
        work_dir: A folder for checkpoints; a killed run goes on from there. Empty keeps none.

    Returns:
        model: The tuned model in Hugging Face layout.
        tuning: What was measured, as JSON.
    """
    from tunepipe.backends.local import backend
    from tunepipe.steps.tuning import tune

    tune(
        backend,
        ports,
        base_model=base_model,
        batch_size=batch_size,
        seed=seed,
        checkpoint_dir=work_dir,
    )
