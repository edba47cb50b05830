"""What a validation found, concluded from its counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from typing import Any

from tunepipe.catalog.limits import Rules, estimated_tokens
from tunepipe.data.fingerprint import combined
from tunepipe.errors import plural
from tunepipe.validation.duplicates import Repeat, Repeats
from tunepipe.validation.problems import Problem
from tunepipe.validation.statistics import Tally

# This many problems of each code are listed before the remaining room is filled line by line.
_SHOWN_OF_EACH = 20

_SAME = {
    "duplicate-row": "the same input and output are at",
    "near-duplicate": "nearly the same row is at",
    "conflicting-row": "the same input with another output is at",
    "eval-leak": "the same input is at",
    "opening-leak": "the conversation holds the input at",
}


@dataclass(frozen=True)
class FileFacts:
    """One file of the dataset."""

    path: str
    bytes: int
    lines: int
    rows: int
    valid_rows: int
    fingerprint: str


@dataclass
class Report:
    """What a validation found.

    Args:
        files: The files, in the order given.
        format: The dataset's format, or "" if no row tells it.
        model: The model whose limits held.
        counts: How often each code was found; never cut.
        errors: How many of the problems are errors: above 0 the data did not pass.
        problems: The problems listed, by file and line, at most `max_problems`.
        stats: Lengths, tokens, languages, labels, repeats.
    """

    files: tuple[FileFacts, ...]
    format: str
    model: str
    counts: Mapping[str, int]
    errors: int
    problems: tuple[Problem, ...]
    stats: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Lines that are not blank."""
        return sum(file.rows for file in self.files)

    @property
    def valid_rows(self) -> int:
        """Rows without an error of their own."""
        return sum(file.valid_rows for file in self.files)

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the file's bytes, or that of all files' together."""
        return combined(file.fingerprint for file in self.files)

    @property
    def tokens(self) -> int:
        """Tokens that a tuning reads, by estimate; 0 where a file's are not known.

        No statistic has the answer that a preference row rejects, and it is read and paid for too:
        such rows count by their bytes, which is rather too much.
        """
        if self.stats.get("rows_with_unknown_tokens"):
            return 0
        tokens = int(self.stats.get("tokens_estimated", {}).get("total", 0))
        if self.format != "preference":
            return tokens
        return max(tokens, estimated_tokens(sum(file.bytes for file in self.files), 0))

    @property
    def longest_output_tokens(self) -> int:
        """Tokens of the longest output, by estimate."""
        if not self.valid_rows:
            return 0
        lengths, tokens = self.stats["output_characters"], self.stats["tokens_estimated"]["output"]
        return int(lengths["max"] * tokens / max(1, lengths["mean"] * self.valid_rows) + 0.5)

    def limited(self, limit: int) -> Report:
        """Return the report with at most `limit` of the problems listed."""
        return replace(self, problems=_choose(self.problems, self.files, limit))

    @property
    def problems_total(self) -> int:
        """How many problems were found, listed or not."""
        return sum(self.counts.values())

    def as_json(self) -> dict[str, Any]:
        """Return the object that `validate --json` prints."""
        return {
            "path": ", ".join(file.path for file in self.files),
            "format": self.format,
            "model": self.model,
            "bytes": sum(file.bytes for file in self.files),
            "rows": self.rows,
            "valid_rows": self.valid_rows,
            "fingerprint": self.fingerprint,
            "problems_total": self.problems_total,
            "errors": self.errors,
            "counts": dict(self.counts),
            "problems": [problem.as_json() for problem in self.problems],
            "stats": dict(self.stats),
            "files": [asdict(file) for file in self.files],
        }


@dataclass
class Scanned:
    """The files of a dataset, checked row by row; what concerns several rows is not yet concluded.

    Args:
        rules: What the rows may hold.
        tally: The counts over all files.
        files: The dataset's files.
        others: The paths of the files compared with.
        unread: Whether a file was no JSONL at all, so that its rows are not known.
        file_problems: Of the files that rows point to, by a hash of the URI; each file once.
    """

    rules: Rules
    tally: Tally
    files: list[FileFacts] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    unread: bool = False
    file_problems: dict[int, Problem] = field(default_factory=dict)


def conclude(scanned: Scanned, *found: Repeats) -> Report:
    """Add the repeats over all files and the limits on rows, and cut the list to its size."""
    tally, rules = scanned.tally, scanned.rules
    for repeats in found:
        tally.counts.update(repeats.counts)
    # Both are leaks of the evaluation to a reader.
    tally.counts["eval-leak"] += tally.counts.pop("opening-leak", 0)
    tally.errors += tally.counts["eval-leak"]
    for repeat in (repeat for repeats in found for repeat in repeats.first):
        code = repeat.code.replace("opening-leak", "eval-leak")
        message = f"{_SAME[repeat.code]} {_earlier(repeat, scanned)}"
        problem = Problem(code, message, line=repeat.line, path=scanned.files[repeat.file].path)
        tally.problems.setdefault(code, []).append(problem)
    for problem in scanned.file_problems.values():
        tally.add([problem], problem.line, problem.path)
    across = chain(_size_problems(scanned), _media_problems(tally.media, tally.valid_rows, rules))
    tally.add(across, 1, scanned.files[0].path)
    stats = tally.statistics() | {
        "duplicate_rows": tally.counts["duplicate-row"],
        "conflicting_rows": tally.counts["conflicting-row"],
        "near_duplicate_rows": tally.counts["near-duplicate"],
    }
    return Report(
        files=tuple(scanned.files),
        format=rules.format,
        model=rules.model,
        counts={code: count for code, count in sorted(tally.counts.items()) if count},
        errors=tally.errors,
        problems=_choose(chain.from_iterable(tally.problems.values()), scanned.files, tally.limit),
        stats=stats,
    )


def _earlier(repeat: Repeat, scanned: Scanned) -> str:
    line = f"line {repeat.earlier_line}"
    if repeat.code in ("eval-leak", "opening-leak"):
        return f"{line} of {scanned.others[repeat.earlier_file]}"
    if len(scanned.files) == 1:
        return line
    return f"{line} of {scanned.files[repeat.earlier_file].path}"


def _size_problems(scanned: Scanned) -> Iterator[Problem]:
    rows, rules = scanned.tally.rows, scanned.rules
    least = max(1, rules.rows_min)
    what = f"the dataset has {rows} row{'s' * (rows != 1)};"
    if rows < least and not scanned.unread:
        yield Problem("too-few-rows", f"{what} {rules.model or 'a tuning'} needs {least}")
    elif rows < rules.rows_advised and not scanned.unread:
        advised = f"{what} {rules.rows_advised} or more are advised"
        yield Problem("too-few-rows", advised, level="warning")
    if 0 < rules.rows_max < rows:
        yield Problem("too-many-rows", f"{what} {rules.model} takes {rules.rows_max}")


def _media_problems(media: Mapping[str, int], valid_rows: int, rules: Rules) -> Iterator[Problem]:
    """Check what a service takes of the files of all rows together; see `Tally.media`."""
    limits, model, rows = rules.media, rules.model, media.get("rows", 0)
    if not limits or not rows:
        return
    if 0 < limits.rows_max < rows:
        what = f"{rows} rows hold files, and {model} takes {limits.rows_max} such rows"
        yield Problem("too-many-rows", what)
    resolutions = sorted(name for name in media if name != "rows")
    if limits.one_media_resolution and len(resolutions) > 1:
        what = f"the rows set several media resolutions: {', '.join(resolutions)}"
        yield Problem("media-limit", what, fix="set one mediaResolution in all rows")
    if limits.drops_text_rows and rows < valid_rows:
        texts = plural(valid_rows - rows, "row")
        what = f"{texts} without a picture: {model} drops such rows without a word"
        yield Problem("media-limit", what, fix="keep text rows and picture rows in files apart")


def _choose(
    problems: Iterable[Problem], files: Sequence[FileFacts], limit: int
) -> tuple[Problem, ...]:
    """Choose the first of every code, then what comes first; in order of file and line."""
    order = {file.path: number for number, file in enumerate(files)}

    def place(problem: Problem) -> tuple[int, int, str, str]:
        return order[problem.path], problem.line, problem.code, problem.field

    first: list[Problem] = []
    rest: list[Problem] = []
    seen: Counter[str] = Counter()
    for problem in sorted(problems, key=place):
        seen[problem.code] += 1
        (first if seen[problem.code] <= _SHOWN_OF_EACH else rest).append(problem)
    chosen = first[:limit] + rest[: max(0, limit - len(first))]
    return tuple(sorted(chosen, key=place))
