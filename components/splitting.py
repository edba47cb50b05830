"""The step that keeps rows aside for evaluation, without a leak."""

from typing import NamedTuple

from kfp.dsl import Artifact, Dataset, Input, Metrics, Output

from tunepipe.packaging.component import component


@component
def split_dataset(
    train: Output[Dataset],
    eval: Output[Dataset],
    split: Output[Artifact],
    metrics: Output[Metrics],
    dataset_uri: str = "",
    dataset: Input[Dataset] = None,
    fingerprint: str = "",
    format: str = "auto",
    model: str = "",
    eval_fraction: float = 0.1,
    eval_min: int = 10,
    eval_max: int = 0,
    seed: int = 0,
    group_by: str = "",
    stratify_by: str = "",
    by_time: str = "",
) -> NamedTuple("Outputs", [("train_rows", int), ("eval_rows", int)]):
    """Split rows by a hash of their input: equal inputs stay together, and growth moves none.

    Args:
        dataset_uri: A path, a gs:// URI, or a glob of either, of valid JSON Lines.
        fingerprint: The data's identity; it renews the cached result when the data change.
        model: The model whose limits on evaluation rows apply; empty takes the format's first.
        eval_fraction: The share of rows held out, between 0 and 1.
        eval_min: Minimum number of held-out rows.
        eval_max: Maximum number of held-out rows; 0 = the limit of the service.
        seed: Random seed.
        group_by: Rows that agree in this field, or in what /PATTERN/ finds in the input, stay on
            one side; empty groups by input alone.
        stratify_by: A field, or `output`, whose values are held out in equal shares.
        by_time: A field with a time; the latest rows are held out.

    Returns:
        train: The rows to learn from, byte for byte.
        eval: The rows held out, byte for byte.
        split: What was done, with the proof that nothing leaks, as JSON.
        metrics: Rows of each side, groups, and duplicates that were kept together.
        train_rows: How many rows there are to learn from.
        eval_rows: How many rows are held out.
    """
    from tunepipe.files import write_json
    from tunepipe.splitting.split import split as split_rows
    from tunepipe.steps.artifacts import dataset_of
    from tunepipe.stores.storage import local_files

    sizes = {"eval_fraction": eval_fraction, "eval_min": eval_min, "eval_max": eval_max}
    keys = {"group_by": group_by, "stratify_by": stratify_by, "by_time": by_time}
    rules = {"format": format, "model": model, "seed": seed}
    with local_files(dataset_of(dataset_uri, dataset)) as paths:
        done = split_rows(paths, train.path, eval.path, **sizes, **keys, **rules)
    write_json(done.as_json(), split.path)
    for name in ("train_rows", "eval_rows", "groups", "duplicate_rows_kept_together"):
        metrics.log_metric(name, getattr(done, name))
    return (done.train_rows, done.eval_rows)
