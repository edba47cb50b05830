"""`tunepipe split`: training and evaluation rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from tunepipe.cli import options
from tunepipe.cli.inputs import split_files
from tunepipe.cli.output import Output, name_options
from tunepipe.errors import plural

if TYPE_CHECKING:
    from tunepipe.splitting.split import SplitReport


def split(
    context: typer.Context,
    dataset: list[str],
    *,
    held_out: options.SplitOptions,
    train: str,
    eval: str,
    seed: int = 0,
    by_time: str = "",
    format: str = "auto",
    model: str = "",
    user_project: options.UserProject = "",
    out: Output,
) -> None:
    """Split rows into training and evaluation.

    A row's side depends on its input, the seed and the fraction alone: equal inputs stay together,
    and rows that are added later move no other. The limits of the model's service are kept.

    Options:
        dataset: Paths, URIs (gs, s3) or globs, or - .
        train (FILE): Where the training rows go.
        eval (FILE): Where the held-out rows go.
        by_time (FIELD): Hold out the latest rows by this field.
    """
    from tunepipe.planning.plan import smallest_difference

    report = split_files(
        dataset,
        train,
        eval,
        **vars(held_out),
        seed=seed,
        by_time=by_time,
        format=format,
        model=model,
        catalog=options.catalog(context),
    )
    # Repeated inputs prove little.
    smallest = smallest_difference(report.leak.eval_inputs)
    out.result({**report.as_json(), "smallest_difference": smallest})
    _show_split(report, train, eval, out)
    out.line(
        f"  the held-out rows show a difference of {100 * smallest:.1f} points or more "
        "(80 % power, if two models differ on a fifth of them)",
        "dim",
    )


def _show_split(report: SplitReport, train: str, eval: str, out: Output) -> None:
    share = report.eval_rows / (report.train_rows + report.eval_rows)
    out.table(
        [
            ("training", plural(report.train_rows, "row"), train),
            ("evaluation", f"{plural(report.eval_rows, 'row')} ({100 * share:.1f} %)", eval),
        ]
    )
    if decided := report.limits.get("decided_by"):
        out.line(f"  decided by: {name_options(decided, ('eval_min', 'eval_max'))}", "dim")
    if report.duplicate_rows_kept_together:
        out.line(f"  {report.duplicate_rows_kept_together:,} repeated inputs kept together", "dim")
    for label, sides in report.labels.items():
        counts = ", ".join(f"{rows:,} {side}" for side, rows in sides.items())
        out.line(f"  {label}: {counts}", "dim")
    out.line("no input is in both files", "green")
