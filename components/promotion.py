"""The steps that know which model is in service, and change it."""

from typing import NamedTuple

from kfp.dsl import Artifact, Input, Model, Output

from tunepipe.packaging.component import component


@component
def lookup_champion(champion: Output[Model], registry: str = "") -> NamedTuple(
    "Outputs", [("Output", str), ("model", str)]
):
    """Find the model in service, if its endpoint still exists. Never cache this step.

    Args:
        registry: The folder or gs:// prefix of the champions' records; empty knows no champion.

    Returns:
        champion: The model in service, or an empty artifact if there is none.
        Output: Its version, or empty.
        model: Its name or folder, or empty; the champion of evaluate_*.
    """
    from tunepipe.steps.artifacts import point_at
    from tunepipe.steps.promotion import lookup_step

    served = lookup_step(registry)
    point_at(champion, served.model if served else "")
    return (str(served.version), served.model) if served else ("", "")


@component
def promote_model(
    model: Input[Model],
    comparison: Input[Artifact],
    registry: str,
    run_id: str = "",
    job: str = "",
) -> str:
    """Make the tuned model the champion, and record who, when, which run and which verdict.

    A model of Vertex AI also gets the alias `champion`, which the one before loses.

    Args:
        comparison: What compare_models said; any verdict but `better` is refused.
        registry: The folder or gs:// prefix of the champions' records.
        run_id: The run that made the model; empty takes the job.

    Returns:
        Output: The new champion's version.
    """
    from tunepipe.steps.artifacts import model_of
    from tunepipe.steps.promotion import promote_step

    return promote_step(model_of(model), comparison.path, registry, run_id or job)
