"""The step that brings rows from outside into a pipeline."""

from kfp.dsl import Dataset, Output

from tunepipe.packaging.component import component


@component
def load_rows(rows: Output[Dataset], dataset_uri: str = ""):
    """Bring a dataset into the pipeline as an artifact. Never cache this step.

    Each row is read once, so that one that no model could be asked stops the run here.

    Args:
        dataset_uri: A path, a gs:// URI, or a glob of either; empty brings no rows.

    Returns:
        rows: The rows of all files, one file after the other.
    """
    from tunepipe.data.formats import read_examples
    from tunepipe.gcp.datasets import load_step

    load_step(dataset_uri, rows.path)
    read = sum(1 for _ in read_examples(rows.path)) if dataset_uri else 0
    print(f"{read:,} rows")
