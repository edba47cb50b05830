"""The step that checks a dataset."""

from __future__ import annotations

from tunepipe.steps.artifacts import Artifact
from tunepipe.steps.validation_outputs import conclude
from tunepipe.stores import storage
from tunepipe.validation.report import Report
from tunepipe.validation.validate import validate


def validate_step(
    dataset_uri: str, problems: Artifact, page: Artifact, fingerprint: str, format: str, model: str
) -> Report:
    """Check a dataset and the files it points to, write the reports, and then refuse errors.

    The report is written as JSON (`problems`) and as a page. The data must have the `fingerprint`
    that they had when the run began; "" takes them as they are.
    """
    report = validate(
        storage.list_files(dataset_uri),
        format=format,
        model=model,
        opener=storage.open_file,
        size_of=storage.size_of,
    )
    return conclude(report, problems, page, fingerprint)
