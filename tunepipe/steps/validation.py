"""What validate_jsonl does: the core's validation, wherever the rows lie, and its refusal."""

from __future__ import annotations

from tunepipe.gcp import storage
from tunepipe.steps.validation_outputs import Valid, conclude_step
from tunepipe.validation.validate import validate


def validate_step(
    dataset_uri: str, problems: str, page: str, fingerprint: str, format: str, model: str
) -> Valid:
    """Check a dataset, write the reports, and refuse data with errors.

    Args:
        dataset_uri: A path, a gs:// URI, or a glob of either.
        problems: The JSON file to write.
        page: The HTML file to write.
        fingerprint: What the data were when the run began; "" takes them as they are.
        format: One of the formats, or "auto".
        model: The model whose limits apply; "" takes the format's first.

    Raises:
        DataError: The data have errors, or have changed since the run began. Both reports are
            written before.
    """
    paths = storage.list_files(dataset_uri)
    report = validate(paths, format=format, model=model, opener=storage.open_file)
    return conclude_step(report, problems, page, fingerprint)
