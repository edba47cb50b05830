"""The step that looks at the project before anything is spent."""

from tunepipe.packaging.component import component


@component
def check_cloud(
    backend: str,
    project: str,
    region: str,
    root: str,
    base_model: str = "",
    options: dict = {},  # noqa: B006
    tables: dict = {},  # noqa: B006
    inlined: bool = False,
) -> str:
    """Check, as the run's own account, what would fail the run an hour later. Never cache this.

    It looks at APIs, rights, the account, the bucket and its region, quota and the template, and
    changes nothing. A problem stops the run; what the account may not see is said, and does not.

    Args:
        backend: large-model, gemini or open-model.
        project: The project that pays.
        region: Where everything runs.
        root: Where the run's results go, gs://BUCKET/….
        base_model: The model to tune; empty takes the backend's default.
        options: What the backend alone knows; service_account and template_version count here.
        tables: Values that replace those of the package's dated tables.
        inlined: Whether the template is a part of the pipeline, so that nobody fetches it.

    Returns:
        Output: How many things are sound, and how many are out of sight.
    """
    from tunepipe.steps.cloud_checks import check_step

    where = {"project": project, "region": region, "root": root}
    what = {"backend": backend, "base_model": base_model, "options": options, "tables": tables}
    return check_step(**what, **where, inlined=inlined)
