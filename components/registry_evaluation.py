"""The step that puts an evaluation beside its model in the Vertex Model Registry."""

from kfp.dsl import Artifact, Input

from tunepipe.packaging.component import component


@component
def import_evaluation(
    tuning: Input[Artifact], comparison: Input[Artifact], pipeline_job: str = ""
) -> str:
    """Import the tuned model's evaluation into the Vertex Model Registry, once.

    Args:
        tuning: What the tuning step wrote; it names the model.
        comparison: What compare_models found.
        pipeline_job: The resource name of the pipeline's job, which the console then links to.

    Returns:
        Output: The evaluation's resource name; or why there is none, as for a model whose weights
            lie on gs:// and not in the registry.
    """
    from tunepipe.registry.evaluations import import_step

    return import_step(tuning.path, comparison.path, pipeline_job)
