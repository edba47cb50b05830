"""The first step of every run: checks that cost nothing, and what exactly the run works on."""

from typing import NamedTuple

from tunepipe.components.families import checking, preparing
from tunepipe.packaging.component import component, thin
from tunepipe.packaging.families import with_ports


@thin
@with_ports(checking, preparing)
def prepare_run(
    **ports,
) -> NamedTuple(
    "Outputs",
    [
        ("Output", str),
        ("fingerprint", str),
        ("champion", str),
        ("first", str),
        ("guard_fingerprint", str),
        ("unchanged_since", str),
        ("asking", dict),
        ("scoring", dict),
        ("judging", dict),
    ],
):
    """Check what would fail the run later, and find what it works on. Never cache this step.

    In the cloud it checks, as the run's own account: APIs, permissions, bucket and its region,
    quota, template. Every setting of the later steps is checked too, and every guarded row. The
    inputs are the pipeline's, and `root`, where its results go, and `inlined`: whether Google's
    template is a part of the pipeline.

    Returns:
        Output: changed, or unchanged if the series has seen these data.
        fingerprint: Hex SHA-256 of the dataset's content.
        champion: The model in service; empty if there is none.
        first: The first champion, with a margin; empty if it is the champion or gone.
        guard_fingerprint: Hex SHA-256 of the guarded rows; empty if there are none.
        unchanged_since: A sentence that names the run that has seen the data; else empty.
        asking: What evaluate_* takes as settings.
        scoring: What compare_models takes as settings.
        judging: What conclude_run takes: the judge's model and prompt.
    """
    from tunepipe.steps.preparation import prepare_step

    return prepare_step(ports)


@component
def fingerprint_dataset(
    dataset_uri: str,
) -> NamedTuple("Outputs", [("fingerprint", str), ("generation", str), ("files", int)]):
    """Turn a dataset's address into the identity of its content. Never cache this step.

    Returns:
        fingerprint: Hex SHA-256 of the bytes; of several files, over their own, sorted.
        generation: The generation in Cloud Storage, or the time of the last change of a local
            file; of several files, joined by commas.
        files: Number of files.
    """
    from tunepipe.stores.generations import identity

    data = identity(dataset_uri)
    return (data.fingerprint, data.generation, data.files)


@component
@with_ports(checking)
def check_cloud(project: str, region: str, root: str, **ports) -> str:
    """Check, as the run's own account, what would fail the run an hour later. Never cache this.

    It looks at APIs, rights, the account, the bucket and its region, quota and the template, and
    changes nothing. A problem stops the run; what the account may not see is listed, and does not.

    Args:
        backend: large-model, gemini, open-model or custom.
        root: Where the run's results go, gs://BUCKET/….
        options: Options of the backend; service_account and template_version count here.
        inlined: Whether the template is a part of the pipeline, and is not fetched.

    Returns:
        Output: How many checks passed, and how many could not be made.
    """
    from tunepipe.steps.cloud_checks import check_step

    return check_step({**ports, "project": project, "region": region, "root": root})
