"""Checking a dataset of many files on many machines: the order of the steps, nothing else."""

from kfp import dsl

from tunepipe.pipelines.steps import Steps


@dsl.pipeline(name="tunepipe-validate-shards")
def validation_pipeline(dataset_uri: str, format: str, model: str = "", code: str = ""):
    """Check every file on its own, and report on all of them as if one process had read them.

    Args:
        dataset_uri: A glob of paths or of gs:// URIs.
        format: palm, palm-chat, gemini, messages, prompt-completion or preference.
        model: The model whose limits apply; empty takes the format's first model.
        code: What each step installs first; empty if the image has tunepipe.
    """
    step = Steps(locals())
    shards = step.list_shards()
    with dsl.ParallelFor(shards.output) as shard:
        part = step.validate_shard(shard_uri=shard)
    step.merge_validations(parts=dsl.Collected(part.outputs["part"]))
