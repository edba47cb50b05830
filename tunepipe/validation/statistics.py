"""What is counted over rows: mergeable, of bounded size, the same whatever the order of merging."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tunepipe.catalog.limits import estimated_tokens
from tunepipe.data.text_pairs import measure
from tunepipe.validation.problems import BLANK_LINE, Problem

# BCP 47: a script that serves many languages is named by "und" and its ISO 15924 code.
_SCRIPTS = (
    ("ja", "[\u3041-\u30ff\uff66-\uff9f]"),
    ("ko", "[\u1100-\u11ff\uac00-\ud7a3]"),
    ("zh", "[\u3400-\u9fff\U00020000-\U0003ffff]"),
    ("th", "[\u0e01-\u0e5b]"),
    ("he", "[\u0591-\u05f4]"),
    ("el", "[\u0370-\u03ff]"),
    ("und-Arab", "[\u0600-\u06ff]"),
    ("und-Cyrl", "[\u0400-\u052f]"),
    ("und-Deva", "[\u0900-\u097f]"),
)
_ENGLISH = r"(?i)\b(?:the|and|of|is|are|what|how|with|this|that|for|you|your|please|to|from)\b"
_LATIN = "[A-Za-z\u00c0-\u024f]"
_LOOKED_AT_CHARACTERS = 400


def language(text: str) -> str:
    """Return a text's language by BCP 47: by script, and English by its commonest words.

    Only the first 400 characters are looked at. One kana makes them Japanese.
    """
    start = text[:_LOOKED_AT_CHARACTERS]
    if not start.isascii():
        for name, pattern in _SCRIPTS:
            if re.search(pattern, start):
                return name
    if re.search(_ENGLISH, start):
        return "en"
    return "und-Latn" if re.search(_LATIN, start) else "und"


# The rows whose languages are looked at: those with the smallest hashes.
_SAMPLED_ROWS = 1000
# Outputs are counted as labels while all are short and few differ, and shown where they come often:
# any others are rows' own texts, which a report of problems must not spread.
_LABEL_CHARACTERS, _LABELS, _ROWS_A_LABEL = 64, 200, 5
_LABELS_SHOWN = 30
HASH_MAX = (1 << 64) - 1
_EDGES = (0, *(step * 10**power for power in range(7) for step in (1, 2, 3, 5, 7)))


@dataclass(slots=True)
class Lengths:
    """The distribution of lengths; above 4,096 a length is kept to three digits and a half."""

    counts: Counter[int] = field(default_factory=Counter)
    ascii_characters: int = 0
    characters: int = 0
    repeated_characters: int = 0
    longest: int = 0

    def add(self, texts: Sequence[str]) -> None:
        """Count the lengths of texts, and their characters by what they cost in tokens."""
        if texts:
            lengths, ascii_characters, repeated = measure(texts)
            most = max(lengths)
            counts = Counter(lengths if most < 4096 else map(_rounded, lengths))
            self.merge(Lengths(counts, ascii_characters, sum(lengths), repeated, most))

    def merge(self, other: Lengths) -> None:
        """Add another distribution's counts."""
        self.counts.update(other.counts)
        self.ascii_characters += other.ascii_characters
        self.characters += other.characters
        self.repeated_characters += other.repeated_characters
        self.longest = max(self.longest, other.longest)

    @property
    def tokens(self) -> int:
        """The tokens of all texts together, by estimate."""
        others = self.characters - self.ascii_characters
        return estimated_tokens(self.ascii_characters - self.repeated_characters, others)

    def as_json(self) -> dict[str, Any]:
        """Return percentiles (nearest rank), mean and a histogram of [low edge, count]."""
        rows = self.counts.total()
        ordered = sorted(self.counts.items())
        return {
            "min": ordered[0][0] if ordered else 0,
            "p5": _percentile(ordered, rows, 5),
            "p50": _percentile(ordered, rows, 50),
            "mean": round(self.characters / rows, 2) if rows else 0,
            "p95": _percentile(ordered, rows, 95),
            "max": self.longest,
            "histogram": _histogram(ordered),
        }


@dataclass(slots=True)
class Tally:
    """Counts and first problems of the lines of a block, a file or a whole dataset.

    Args:
        limit: How many problems of each code are kept; the counts are never cut.
        cutoff: The hash above which no row's language is looked at: what an earlier tally, with
            which this one will be merged, already rules out.
    """

    limit: int
    cutoff: int = HASH_MAX
    lines: int = 0
    rows: int = 0
    valid_rows: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    errors: int = 0
    problems: dict[str, list[Problem]] = field(default_factory=dict)
    input_lengths: Lengths = field(default_factory=Lengths)
    output_lengths: Lengths = field(default_factory=Lengths)
    labels: Counter[str] | None = field(default_factory=Counter)
    languages: list[tuple[int, str]] = field(default_factory=list)
    media: Counter[str] = field(default_factory=Counter)
    file_tokens: int = 0
    rows_of_unknown_tokens: int = 0

    def add_media(self, resolutions: Iterable[str], tokens: Sequence[int | None]) -> None:
        """Count a valid row that holds files: their media resolutions, and tokens where known."""
        if not tokens:
            return
        self.media["rows"] += 1
        self.media.update(set(resolutions) - {""})
        self.file_tokens += sum(filter(None, tokens))
        self.rows_of_unknown_tokens += None in tokens

    def add(self, problems: Iterable[Problem], line: int, path: str) -> None:
        """Count what is wrong with one line, and keep the first of each code."""
        for problem in problems:
            self.counts[problem.code] += 1
            self.errors += problem.is_error
            kept = self.problems.setdefault(problem.code, [])
            if len(kept) < self.limit:
                kept.append(replace(problem, line=line, path=path))

    def add_blank_lines(self, lines: Sequence[int], path: str) -> None:
        """Count blank lines, some of which may be listed; there may be millions."""
        room = max(0, self.limit - len(self.problems.get("blank-line", ())))
        for line in lines[:room]:
            self.add([Problem("blank-line", BLANK_LINE)], line, path)
        self.counts["blank-line"] += len(lines[room:])

    def add_rows(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        hashes: Sequence[int],
        labels: Sequence[str],
    ) -> None:
        """Count valid rows: `hashes` are those of the inputs, `labels` the outputs to show."""
        self.input_lengths.add(inputs)
        self.output_lengths.add(outputs)
        self.valid_rows += len(inputs)
        if self.labels is not None and labels:
            is_label = max(map(len, labels)) <= _LABEL_CHARACTERS
            self._count_labels(Counter(labels) if is_label else None)
        below = self.sampled_below
        rows = sorted(row for row in zip(hashes, inputs, strict=True) if row[0] <= below)
        self._keep_sampled([(value, language(text)) for value, text in rows[:_SAMPLED_ROWS]])

    def merge(self, other: Tally, lines_before: int = 0) -> None:
        """Add another tally of later lines; its lines are numbered on from `lines_before`."""
        self.lines += other.lines
        self.rows += other.rows
        self.valid_rows += other.valid_rows
        self.media.update(other.media)
        self.file_tokens += other.file_tokens
        self.rows_of_unknown_tokens += other.rows_of_unknown_tokens
        self.counts.update(other.counts)
        self.errors += other.errors
        for code, problems in other.problems.items():
            kept = self.problems.setdefault(code, [])
            problems = problems[: max(0, self.limit - len(kept))]
            if lines_before:
                problems = [replace(each, line=each.line + lines_before) for each in problems]
            kept += problems
        self.input_lengths.merge(other.input_lengths)
        self.output_lengths.merge(other.output_lengths)
        self._count_labels(other.labels)
        self._keep_sampled(other.languages)

    @property
    def sampled_below(self) -> int:
        """Return the hash above which a row is not in the language sample."""
        full = len(self.languages) >= _SAMPLED_ROWS
        return min(self.cutoff, self.languages[-1][0]) if full else self.cutoff

    def statistics(self) -> dict[str, Any]:
        """Return the report's `stats`, but for what is counted across rows."""
        files = self.file_tokens
        texts = {"input": self.input_lengths.tokens, "output": self.output_lengths.tokens}
        labels = self.labels or Counter()
        recur = len(labels) * _ROWS_A_LABEL <= labels.total()
        # Languages are scaled up from the sampled rows; exact where all were sampled.
        languages = Counter(name for _, name in self.languages)
        share = self.valid_rows / max(1, len(self.languages))
        return {
            "input_characters": self.input_lengths.as_json(),
            "output_characters": self.output_lengths.as_json(),
            "tokens_estimated": {**texts, "files": files, "total": sum(texts.values()) + files},
            "rows_with_files": self.media["rows"],
            "rows_with_unknown_tokens": self.rows_of_unknown_tokens,
            "languages": {name: round(n * share) for name, n in _most_common(languages)},
            "labels": dict(_most_common(labels)[:_LABELS_SHOWN]) if recur else {},
        }

    def _count_labels(self, labels: Counter[str] | None) -> None:
        """Count labels until there are too many; None means that the outputs are no labels."""
        if self.labels is not None and labels is not None:
            self.labels.update(labels)
        if labels is None or len(self.labels or ()) > _LABELS:
            self.labels = None

    def _keep_sampled(self, new: list[tuple[int, str]]) -> None:
        if new:
            self.languages = sorted(self.languages + new)[:_SAMPLED_ROWS]


def hashes(texts: Iterable[str]) -> list[int]:
    """Hash texts to 64 bits (XXH3), the same in every process."""
    import xxhash

    return list(map(xxhash.xxh3_64_intdigest, [text.encode() for text in texts]))


def _most_common(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _rounded(number: int) -> int:
    shift = max(0, number.bit_length() - 12)
    return number >> shift << shift


def _percentile(ordered: Sequence[tuple[int, int]], rows: int, percent: int) -> int:
    rank, seen = -(-rows * percent // 100), 0
    for value, count in ordered:
        seen += count
        if seen >= rank:
            return value
    return 0


def _histogram(ordered: Sequence[tuple[int, int]]) -> list[list[int]]:
    bins: Counter[int] = Counter()
    for value, count in ordered:
        bins[max(edge for edge in _EDGES if edge <= value)] += count
    if not bins:
        return []
    low, high = min(bins), max(bins)
    return [[edge, bins[edge]] for edge in _EDGES if low <= edge <= high]
