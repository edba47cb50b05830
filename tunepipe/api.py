"""The public API: what the commands do, on files and DataFrames, with results to look at.

Import it as `tunepipe`; this module is loaded when the first of its names is used.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunepipe.arguments import hint
from tunepipe.errors import TunepipeError, UsageError, plural
from tunepipe.extras import require
from tunepipe.planning.plan import Plan
from tunepipe.reporting.html_page import result_html
from tunepipe.splitting.split import SplitReport
from tunepipe.validation.report import Report

if TYPE_CHECKING:
    import pandas

    from tunepipe.data.predictions import Prediction
    from tunepipe.evaluation.score import Evaluation

File = str | os.PathLike[str]
_FRAME = "DataFrame"
_PROBLEMS_SHOWN = 20


@dataclass
class Validation(Report):
    """The result of a validation: files, counts, problems, statistics."""

    @property
    def passed(self) -> bool:
        """Whether no row has an error; warnings do not count."""
        return not self.errors

    def to_dict(self) -> dict[str, Any]:
        """Return the object that `tunepipe validate --json` prints."""
        return self.as_json()

    def _repr_html_(self) -> str:
        shown = self.problems[:_PROBLEMS_SHOWN]
        figures = (self.rows, self.valid_rows, self.errors, self.problems_total - self.errors)
        problems = [
            (str(each.line), each.code, each.level, each.field, each.message, each.fix)
            for each in shown
        ]
        more = self.problems_total - len(shown)
        return result_html(
            f"Validation of {', '.join(file.path for file in self.files)}",
            "passed" if self.passed else "did not pass",
            [
                (
                    ("format", "rows", "valid rows", "errors", "warnings"),
                    [(self.format, *(f"{figure:,}" for figure in figures))],
                ),
                (("line", "code", "level", "field", "problem", "fix"), problems),
            ],
            [f"{more:,} more in .problems and .counts"] if more else [],
        )


@dataclass(frozen=True)
class Split(SplitReport):
    """The two files of a split: rows, groups, limits, and the check that they share no input.

    Args:
        train: The training file.
        eval: The evaluation file.
    """

    train: str = ""
    eval: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the object that `tunepipe split --json` prints, and the two paths."""
        return self.as_json()

    def _repr_html_(self) -> str:
        rows = [
            ("training", f"{self.train_rows:,}", self.train),
            ("evaluation", f"{self.eval_rows:,}", self.eval),
        ]
        return result_html("Split", "no input is in both files", [(("", "rows", "file"), rows)])


@dataclass(frozen=True)
class TuningPlan(Plan):
    """Steps, time and money of a tuning, and the arithmetic behind them."""

    def to_dict(self) -> dict[str, Any]:
        """Return the object that `tunepipe plan --json` prints."""
        return self.as_json()

    def _repr_html_(self) -> str:
        from tunepipe.cli.commands.plan import plan_rows

        notes = [*self.explanation, *(f"Warning: {text}" for text in self.warnings)]
        return result_html("Plan", tables=[((), plan_rows(self))], notes=notes)


@dataclass(frozen=True)
class Scores:
    """Metrics of a model's answers, and the comparison with another model's.

    Args:
        evaluation: All of it: metrics with intervals, comparison, confusion, changed rows.
    """

    evaluation: Evaluation

    @property
    def metrics(self) -> dict[str, float]:
        """Each metric's value, 0 to 1; the intervals are in `evaluation.metrics`."""
        return {name: each.value for name, each in self.evaluation.metrics.items()}

    @property
    def verdict(self) -> str:
        """better, worse or not-enough-evidence; "" without a baseline."""
        return self.evaluation.decide()[0]

    def to_dict(self) -> dict[str, Any]:
        """Return the object that `tunepipe score --json` prints."""
        return self.evaluation.as_json()

    def _repr_html_(self) -> str:
        from tunepipe.cli.commands.score import metric_rows

        head, *rows = metric_rows(self.evaluation)
        verdict, reason = self.evaluation.decide()
        return result_html(
            f"Scores of {plural(self.evaluation.rows, 'row')}, {self.evaluation.task}",
            verdict,
            [(head, rows)],
            [reason] if verdict else [],
        )


@dataclass(frozen=True)
class Run:
    """A run of the pipeline.

    Args:
        name: The run's id on this machine, or its resource name on Vertex AI.
        state: running, succeeded, failed and so on.
        verdict: better, worse or not-enough-evidence; "" before there is one.
        reason: Why, in one sentence; of a failed run, what went wrong.
        results: Paths or URIs of what a person opens, by name: report, summary, model_card …
        page: The run's page in the console; "" on this machine.
    """

    name: str
    state: str
    verdict: str = ""
    reason: str = ""
    results: Mapping[str, str] = field(default_factory=dict)
    page: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return {**asdict(self), "results": dict(self.results)}

    def _repr_html_(self) -> str:
        rows = [*sorted(dict(self.results).items()), *([("page", self.page)] if self.page else [])]
        notes = [self.reason] if self.reason else []
        return result_html(f"Run {self.name}", self.verdict or self.state, [((), rows)], notes)


def validate(
    dataset: File | Sequence[File] | pandas.DataFrame,
    *,
    model: str = "",
    format: str = "auto",
    against: File | Sequence[File] = (),
    max_problems: int = 1000,
    near_duplicates: bool = False,
    pii: bool = False,
    workers: int = 0,
    tables: Mapping[str, Any] | None = None,
) -> Validation:
    """Find every problem of every row, with its line.

    Args:
        dataset: A path, a gs:// URI, a glob, several of them, or a DataFrame.
        model: The model whose limits apply; "" for the first model of the format.
        format: palm, palm-chat, gemini, messages, prompt-completion, preference, or "auto".
        against: Files that must share no input with the dataset, such as the evaluation rows.
        max_problems: The most problems to list, 0 or more; all are counted.
        near_duplicates: Report rows that say nearly the same.
        pii: Report personal data.
        workers: Worker processes, 0 to 256; 0 chooses by the size of the dataset.
        tables: Values that replace those of the built-in tables: {"services": …, "models": …}.

    Returns:
        The report. Data that do not pass raise nothing: see `passed`.

    Raises:
        UsageError: A file cannot be read, or an argument is out of range.
    """
    from tunepipe.catalog.catalog import load_catalog
    from tunepipe.cli.inputs import validated_files

    catalog = load_catalog(tables)
    catalog.check_model_name(model)
    with _files(dataset) as (paths, is_frame), _files(against) as (others, _):
        report = validated_files(
            paths,
            others,
            format=format,
            model=model,
            max_problems=max_problems,
            near_duplicates=near_duplicates,
            pii=pii,
            workers=workers,
            catalog=catalog,
        )
    if is_frame:
        report = replace(
            report,
            files=tuple(replace(file, path=_FRAME) for file in report.files),
            problems=tuple(replace(each, path=_FRAME) for each in report.problems),
        )
    return Validation(**vars(report))


def split(
    dataset: File | Sequence[File] | pandas.DataFrame,
    *,
    train: File,
    eval: File,
    eval_fraction: float = 0.1,
    eval_min: int = 10,
    eval_max: int = 0,
    seed: int = 0,
    group_by: str = "",
    stratify_by: str = "",
    by_time: str = "",
    format: str = "auto",
    model: str = "",
    tables: Mapping[str, Any] | None = None,
) -> Split:
    """Split rows into training and evaluation; rows with the same input stay together.

    Args:
        dataset: A path, a gs:// URI, a glob, several of them, or a DataFrame.
        train: The training file to write: a path or a gs:// URI.
        eval: The evaluation file to write.
        eval_fraction: The share of rows that is held out, above 0 and below 1.
        eval_min: The fewest rows to hold out, 0 or more.
        eval_max: The most rows to hold out; 0 for the service's own limit.
        seed: The random seed, any whole number.
        group_by: Keep rows together by this field, or by /PATTERN/ in the input.
        stratify_by: Give each label its share: "output", or a field.
        by_time: Hold out the latest rows by this field.
        format: The rows' format, or "auto".
        model: The model whose limits are kept; "" for the first model of the format.
        tables: Values that replace those of the built-in tables.

    Raises:
        DataError: A row cannot be read, or no split keeps the limits.
        UsageError: A file cannot be read, or an argument is out of range.
    """
    from tunepipe.catalog.catalog import load_catalog
    from tunepipe.cli.inputs import split_files

    train, eval = os.fspath(train), os.fspath(eval)
    with _files(dataset) as (paths, _):
        report = split_files(
            paths,
            train,
            eval,
            eval_fraction=eval_fraction,
            eval_min=eval_min,
            eval_max=eval_max,
            seed=seed,
            group_by=group_by,
            stratify_by=stratify_by,
            by_time=by_time,
            format=format,
            model=model,
            catalog=load_catalog(tables),
        )
    return Split(**vars(report), train=train, eval=eval)


def plan(
    dataset: File | Sequence[File] | pandas.DataFrame | None = None,
    *,
    rows: int | None = None,
    region: str = "",
    model: str = "",
    backend: str = "",
    epochs: float = 0,
    train_steps: int = 0,
    max_cost_usd: float = 0,
    hours: float = 0,
    learning_rate_multiplier: float = 1.0,
    format: str = "auto",
    tables: Mapping[str, Any] | None = None,
) -> TuningPlan:
    """Work out steps, hours, dollars and quota before anything is spent.

    Args:
        dataset: A path, a gs:// URI, a glob, several of them, or a DataFrame.
        rows: The number of training rows, in place of a dataset.
        region: Where to tune, such as us-central1; "" for the backend local.
        model: The model to tune; "" for the first model of the rows' format, without a dataset
            for text-bison@001.
        backend: large-model, gemini, open-model, custom or local; "" follows from the model.
        epochs: Passes over the rows, above 0; 0 for the model's default.
        train_steps: Training steps, in place of epochs.
        max_cost_usd: Refuse an estimate above this; 0 for no limit.
        hours: Hours that it runs, in place of the estimate.
        learning_rate_multiplier: Times the recommended learning rate, above 0.
        format: The rows' format, or "auto".
        tables: Values that replace those of the built-in tables, such as your own prices.

    Raises:
        UsageError: Both a dataset and rows, or neither; an argument out of range.
        LimitError: A region, a model or `max_cost_usd` forbids it.
    """
    from tunepipe.cli.commands.plan import make_plan

    with _files(() if dataset is None else dataset) as (paths, _):
        planned = make_plan(
            paths,
            rows,
            region=region,
            model=model,
            backend=backend,
            epochs=epochs,
            train_steps=train_steps,
            max_cost_usd=max_cost_usd,
            hours=hours,
            learning_rate_multiplier=learning_rate_multiplier,
            format=format,
            tables=tables,
        )
    return TuningPlan(**vars(planned))


def score(
    predictions: File | pandas.DataFrame,
    baseline: File | pandas.DataFrame | None = None,
    *,
    task: str = "auto",
    metric: str = "",
    margin: float = 0.0,
    seed: int = 0,
) -> Scores:
    """Score a model's answers, and compare them with another model's.

    Args:
        predictions: A predictions file, or a DataFrame with the columns id, input, reference and
            prediction, whose empty cells are rows without an answer.
        baseline: Another model's answers to the same rows; None for no comparison.
        task: text, classification, json or calls; "auto" decides by the references.
        metric: The metric that decides; "" for the task's own.
        margin: How much worse still counts as not worse, 0 to 1.
        seed: The seed of the intervals, 0 to 2**32 - 1.

    Raises:
        UsageError: A file cannot be read, the rows differ, or an argument is out of range.
    """
    require("score")
    from tunepipe.cli.inputs import read_predictions
    from tunepipe.evaluation.score import evaluate

    def read(source: File | pandas.DataFrame, name: str) -> list[Prediction]:
        with _files(source, nullable="prediction") as (paths, _):
            if len(paths) != 1:
                fix = "give one predictions file, or a DataFrame of its rows"
                raise UsageError(
                    f"{plural(len(paths), 'file')} in place of one", where=name, fix=fix
                )
            return read_predictions(*paths)

    rows = read(predictions, "predictions")
    other = None if baseline is None else read(baseline, "baseline")
    return Scores(evaluate(rows, other, task=task, metric=metric, seed=seed, margin=margin))


def run(
    dataset: File | pandas.DataFrame,
    *,
    backend: str = "",
    wait: bool = True,
    again: bool = False,
    runs: File = "runs",
    tables: Mapping[str, Any] | None = None,
    **options: Any,
) -> Run:
    """Run the whole pipeline, on this machine or on Vertex AI.

    Args:
        dataset: A path, a gs:// URI, a glob, or a DataFrame.
        backend: local, gemini, open-model, custom or large-model; "" follows from `base_model`.
        wait: Follow a run in the cloud to its end.
        again: Start a new run even if an identical run exists.
        runs: The folder of runs on this machine.
        tables: Values that replace those of the built-in tables.
        options: The other options of `tunepipe run` by name, such as region, project, bucket,
            base_model, epochs, max_cost_usd, option={"lora_rank": 16} and param={"eval_max": 50}.

    Returns:
        The run. An equal run that was done before, or that goes on, is returned and not repeated.

    Raises:
        UsageError: An unknown option; a run in the cloud without `max_cost_usd`, since it
            spends without asking.
        DataError: The data do not pass.
        LimitError: A region, a model or `max_cost_usd` forbids it.
        CloudError: The run failed, or Google refused.
    """
    from tunepipe.cli.commands import run as command
    from tunepipe.cli.output import Output
    from tunepipe.cli.run_options import LOCAL, RunOptions
    from tunepipe.runs.listing import VERTEX, ListedRun, Places

    known = [each.name for each in fields(RunOptions) if each.name not in ("dataset", "tables")]
    for name in options:
        if name not in known:
            raise UsageError("unknown option", where=name, fix=hint(name, known))
    out = Output()
    with _files(dataset) as (paths, _):
        if len(paths) != 1:
            raise UsageError("a run takes one dataset", where="dataset", fix="use a glob")
        described = RunOptions(dataset=paths[0], backend=backend, **options).resolve(tables or {})
        if described.backend == LOCAL:
            from tunepipe.runs.local import run_local

            command.check_here(described, out)
            local = run_local(dict(described.parameters), runs_folder=Path(runs), again=again)
            return Run(local.id, local.state, local.verdict, local.reason, local.results)
        if not described.parameters["max_cost_usd"]:
            raise UsageError(
                "a run on Vertex AI costs money, and a program is not asked first",
                where="max_cost_usd",
                fix="the most it may cost in US dollars, such as max_cost_usd=50",
            )
        checked = command.prepare_on_vertex(described, again, out)
        name = command.start_run(checked, again=again, yes=True, out=out)
        places, started = Places(Path(runs)), ListedRun(name, name, VERTEX)
        status = places.follow(started) if wait else places.status(started)
        reason = status.error or status.unchanged
        return Run(name, status.state, status.verdict, reason, status.results, status.page)


@contextmanager
def _files(
    dataset: File | Sequence[File] | pandas.DataFrame, nullable: str = ""
) -> Iterator[tuple[list[str], bool]]:
    """Yield a dataset's paths, and whether it was a DataFrame, which is written to a file first.

    An empty cell of a DataFrame is a field that the row lacks; in the column `nullable` it is null.
    """
    if isinstance(dataset, (str, os.PathLike)):
        yield [os.fspath(dataset)], False
        return
    if not hasattr(dataset, "columns"):
        yield [os.fspath(path) for path in dataset], False
        return
    from tunepipe.cli.inputs import name_originals

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / f"{_FRAME}.jsonl")
        _write_frame(dataset, path, nullable)
        try:
            yield [path], True
        except TunepipeError as error:
            name_originals(error, {path: _FRAME})
            raise


def _write_frame(frame: pandas.DataFrame, path: str, nullable: str) -> None:
    import json

    with open(path, "w", encoding="utf-8") as file:
        for record in frame.to_dict("records"):
            row = {str(name): value for name, value in record.items() if not _is_missing(value)}
            if nullable in record:
                row.setdefault(nullable, None)
            file.write(json.dumps(row, ensure_ascii=False, default=_plain) + "\n")


def _is_missing(value: Any) -> bool:
    import pandas

    return value is None or (pandas.api.types.is_scalar(value) and bool(pandas.isna(value)))


def _plain(value: Any) -> Any:
    # numpy's arrays and numbers, and dates, in the cells of a DataFrame.
    return value.tolist() if hasattr(value, "tolist") else str(value)
