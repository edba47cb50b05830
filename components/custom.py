"""The steps that tune and ask open models on accelerators in the user's project."""

from tunepipe.components.families import asking, tuning, tuning_in_cloud
from tunepipe.packaging.component import component
from tunepipe.packaging.families import with_ports


@component
@with_ports(tuning, tuning_in_cloud)
def tune_custom(batch_size: int = 16, base_model: str = "Qwen/Qwen3-4B", seed: int = 0, **ports):
    """Tune any open model by TRL in a custom job, on GPUs in the user's project.

    Args:
        train: The rows to learn from, on gs://, in any format; preference rows are tuned by DPO.
        region: Where the job runs.
        batch_size: Rows a step, over all accelerators.
        base_model: A hub id, or a gs:// folder in Hugging Face layout.
        seed: Seeds the order of rows and the start of LoRA.
        display_name: The name of the job, at most 128 characters.
        options: accelerator, machines, provisioning, max_wait_hours, reservation, image, install,
            service_account, hub_token, disk_gib, usd_per_hour, parameters_billion, again; those
            of tune_local, such as tuning_mode and lora_rank; poll_seconds, max_hours.

    Returns:
        model: The folder of the tuned model.
        base: A placeholder for the model before tuning.
    """
    from tunepipe.backends.custom import tuning as custom
    from tunepipe.steps.tuning import tune

    tune(custom, ports, base_model=base_model, batch_size=batch_size, seed=seed)


@component
@with_ports(asking)
def evaluate_custom(**ports):
    """Ask tuned models every held-out row, all rows of a model in one custom job through vLLM.

    Unanswered rows are counted, and never scored as wrong. A model that is not given is not asked,
    and its predictions are an empty file.

    Args:
        model: The folder that tune_custom wrote.
        settings: batch_size, engine, precision, four_bit.
    """
    from tunepipe.backends.custom import prediction
    from tunepipe.steps.evaluation import evaluate_step

    return evaluate_step(prediction, "custom", ports)
