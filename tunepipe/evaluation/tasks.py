"""Tasks: what each requires of the references, and which one the references suggest."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from tunepipe.arguments import hint
from tunepipe.catalog.schema import Model
from tunepipe.data.conversations import Example
from tunepipe.data.parts import MEDIA, kinds_of, read_calls
from tunepipe.data.predictions import short_fields
from tunepipe.errors import DataError, UsageError
from tunepipe.evaluation.normalization import CHECKS, CONTENT, STRICT, normalized

# Each task's metric that decides unless another one is named.
DECIDES = {
    "text": "rouge_l",
    "classification": "accuracy",
    "json": "field_accuracy",
    "calls": "call_accuracy",
}
TASKS = tuple(DECIDES)
# What else can decide in each task. Metrics with a * are shown by the other reading of the answers
# too: `accuracy_content`, or `accuracy_strict` where the content decides.
_NAMES = {
    "text": "exact_match* exact_match_normalized token_f1 rouge_1 rouge_2 rouge_l bleu chrf "
    "edit_similarity",
    "classification": "accuracy* macro_f1*",
    "json": "parses keys_match field_accuracy* object_exact*",
    "calls": "calls_made functions_match call_accuracy* calls_exact* calls_in_order",
}
METRICS = {task: [name.rstrip("*") for name in names.split()] for task, names in _NAMES.items()}
# The parts of answers that have metrics of their own, such as field:NAME, and their task.
_PARTS = {"check": "text", "field": "json", "argument": "calls"}
MAX_PARTS, MAX_SLICES = 50, 200
MAX_LABELS = 200
MAX_OUTPUT_TOKENS = 256  # the pipelines' own default
MAX_DEPTH = 64
Object = dict[str, Any]
_MIN_ROWS_PER_LABEL, _MAX_LABEL_CHARACTERS = 3, 50


class Task(NamedTuple):
    """A task, and why it was taken: "set", or what the references look like."""

    name: str
    reason: str


def choose_task(references: Sequence[str], name: str = "auto") -> Task:
    """Take the task that was set, or detect it from the references.

    It is "calls" if a reference calls a function; "json" if all references are JSON objects;
    "classification" if at most 200 short texts occur three times each on average; else "text".
    """
    check_task(name)
    if name != "auto":
        return Task(name, "set")
    if calling := sum(bool(read_calls(text)) for text in references):
        return Task("calls", f"{calling:,} of {len(references):,} references call a function")
    if all(parse(text) is not None for text in references):
        return Task("json", "every reference is a JSON object")
    labels = {normalized(text) for text in references}
    few = len(labels) <= min(MAX_LABELS, len(references) / _MIN_ROWS_PER_LABEL)
    if few and all(len(label) <= _MAX_LABEL_CHARACTERS for label in labels):
        each = len(references) / len(labels)
        reason = f"the references are {len(labels):,} short texts, {each:.0f} times each"
        return Task("classification", reason)
    return Task("text", "the references are neither JSON objects nor a few short labels")


def choose_metric(
    references: Sequence[str], task: str = "auto", metric: str = ""
) -> tuple[str, str]:
    """Return the metric that decides and why, as a run of these rows will take it."""
    chosen = choose_task(references, task)
    reason = f"the task is {chosen.name}"
    if chosen.reason != "set":
        reason += f", because {chosen.reason}"
    return (metric, "set") if metric else (DECIDES[chosen.name], reason)


def check_metric(
    name: str, task: str = "", references: Sequence[str] | None = None, normalize: str = STRICT
) -> None:
    """Refuse a metric that cannot decide, before anything is paid.

    Those of a user's own, such as regex:PATTERN, pass. Without a task any task's metrics pass, and
    without references any names of fields and arguments.
    """
    kind = name.partition(":")[0]
    if not name or (kind != name and kind not in _PARTS):
        return
    other = {STRICT: CONTENT, CONTENT: STRICT}.get(normalize, CONTENT)
    endings = [f"_{other}"] if task else [f"_{STRICT}", f"_{CONTENT}"]
    known = []
    for each in (task,) if task else TASKS:
        both = [name.rstrip("*") for name in _NAMES[each].split() if name.endswith("*")]
        known += [*METRICS[each], *(name + end for name in both for end in endings)]
    kinds = [each for each, of_task in _PARTS.items() if task in ("", of_task)]
    if references is None:
        known += [name] if kind in kinds else []
    elif name not in known:
        known += [f"{each}:{part}" for each in kinds for part in _parts_of(each, references)]
    if name not in known:
        raise UsageError(
            f"the metric {name} is not known for {f'the task {task}' if task else 'any task'}",
            where="metric",
            fix=f"{hint(name, known)}; or a metric of your own: module:function, regex:PATTERN, "
            "schema:FILE, number:TOLERANCE",
        )


def _parts_of(kind: str, references: Sequence[str]) -> list[str]:
    """The parts with a metric of their own, as `metric.shares_of_parts` names them."""
    if kind == "check":
        return [name for name, find in CHECKS.items() if any(map(find, references))]
    counts: Counter[str] = Counter()
    for text in references:
        names = list(parse(text) or ())
        if kind == "argument":
            names = [f"{call.name}.{each}" for call in read_calls(text) for each in call.arguments]
        counts.update(dict.fromkeys(names).keys())
    return [name for name, _ in counts.most_common(MAX_PARTS)]


def check_slices(names: Iterable[str], rows: Sequence[Example], group_by: str = "") -> None:
    """Refuse fields to slice by that no held-out row has, before anything is paid.

    "class" and "language" are always there, and "group" if the split has groups.
    """
    fields = [short_fields(row) for row in rows]
    known = {name for row in fields for name in row}
    for name in names:
        values = {str(row[name]) for row in fields if row.get(name) not in (None, "")}
        if name == "class":
            values = {row.reference.strip() for row in rows}
        if (name == "group" and group_by) or (name == "language" and name not in known):
            continue
        check_slice_values(name, sorted(values - {""}), known)


def check_slice_values(name: str, values: Sequence[str], known: Iterable[str]) -> None:
    """Refuse a field to slice by that no row has, or that has more than 200 values."""
    if not values:
        fix = hint(name, sorted({*known, "class"}))
        raise UsageError(f"no row has the field {name}", where="slice_by", fix=fix)
    if len(values) > MAX_SLICES:
        raise UsageError(
            f"the field {name} has {len(values):,} values, more than {MAX_SLICES}",
            where="slice_by",
            fix="slice by a field with few values",
        )


def check_task(name: Any) -> None:
    """Refuse a task that is neither one of TASKS nor "auto"."""
    if name not in (*TASKS, "auto"):
        raise UsageError(
            f"{name!r} is not a task", where="task", fix=f"name one of {', '.join(TASKS)}, auto"
        )


def check_references(task: str, references: Sequence[str]) -> None:
    """Refuse references that a task cannot be scored against; any suit "text" and "auto"."""
    if task == "json":
        for text in references:
            object_of(text)
    if task == "classification":
        labels_of(references)


def check_parts(
    examples: Iterable[Example], model: Model, judge_model: str = "", rows: str = "evaluation rows"
) -> None:
    """Refuse rows that the model, or the judge, which reads text alone, could not be shown."""
    for example in examples:
        kinds = kinds_of(example.fields)
        refused, why = kinds - set(model.takes), f"which {model.name} does not take"
        fix = "remove such rows, or tune a model that takes them"
        if judge_model and not refused:
            refused, why = kinds & MEDIA, "and the judge reads text alone"
            fix = "leave judge_model out, or remove such rows"
        if refused:
            parts = ", ".join(sorted(refused))
            raise DataError(
                f"the row holds {parts}, {why}", where=f"line {example.line} of the {rows}", fix=fix
            )


def cut_answers(longest_tokens: int, max_output_tokens: int) -> tuple[str, ...]:
    """Warn where answers as long as the longest reference would be cut, and judged so."""
    if longest_tokens <= max_output_tokens:
        return ()
    return (
        f"the longest answer of the rows has about {longest_tokens:,} tokens, and at "
        f"{max_output_tokens:,} a model's answer is cut and judged by its beginning: raise "
        "max_output_tokens",
    )


def labels_of(references: Sequence[str]) -> dict[str, str]:
    """Return the labels of a classification, at most 200, as first written, by normalised form."""
    shown = {normalized(text): text.strip() for text in reversed(references)}
    if len(shown) > MAX_LABELS:
        raise UsageError(
            f"the references hold {len(shown):,} different labels, more than {MAX_LABELS}",
            where="task",
            fix="score these rows with task text",
        )
    return shown


def object_of(text: str) -> Object:
    """Read a reference as a JSON object, and refuse one that is not."""
    value = parse(text)
    if value is None:
        raise UsageError(
            "a reference is not a JSON object",
            where="task",
            fix="score these rows with task text, or correct the references",
        )
    return value


def parse(text: str) -> Object | None:
    """Read a text as a JSON object; None if it is not one, or nested more than 64 deep."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and not _deeper(value, MAX_DEPTH) else None


def _deeper(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels < 0 or any(_deeper(item, levels - 1) for item in inner)


def _refuse(constant: str) -> Any:
    raise ValueError(constant)
