"""The step that brings rows from outside into a pipeline."""

from kfp.dsl import Dataset, Output

from ._shell import component


@component
def load_rows(rows: Output[Dataset], dataset_uri: str = ""):
    """Bring a dataset into the pipeline as an artifact. Never cache this step.

    Args:
        dataset_uri: A path, a gs:// URI, or a glob of either; empty brings no rows.

    Returns:
        rows: The rows of all files, one file after the other.
    """
    from tunepipe.backends.datasets import load_step

    load_step(dataset_uri, rows.path)
