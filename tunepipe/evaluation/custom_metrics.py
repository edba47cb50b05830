"""Metrics of a user's own: a function, a regular expression, a JSON schema, numbers.

    module:function     score(prediction, reference[, input]) returns 0..1
    regex:PATTERN       the answer matches the pattern from start to end
    schema:FILE         the answer is JSON that the JSON Schema of the file accepts
    number:TOLERANCE    the answer's number is the reference's, within TOLERANCE ("1%": relative)

A file's content travels with the run: `load` reads it here, and `measure` runs it in the step.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunepipe.data.predictions import Prediction
from tunepipe.errors import UsageError
from tunepipe.evaluation.metric import Metric, mean, share
from tunepipe.evaluation.normalization import json_text, unwrapped

_MAX_CODE_BYTES = 64 * 1024
_FORMS = "module:function, regex:PATTERN, schema:FILE or number:TOLERANCE"
# 1,234.5 and 1.234,5 have marks between thousands; any other comma is a decimal one.
_NUMBER = re.compile(
    r"[-+−]?(?:(?P<commas>\d{1,3}(?:[,\u202f]\d{3})+(?![,\d])(?:\.\d+)?)"
    r"|(?P<points>\d{1,3}(?:\.\d{3})+,\d+)|\d+(?:[.,]\d+)?)(?:[eE][-+]?\d+)?"
)


@dataclass(frozen=True)
class CustomMetric:
    """A metric of a user's own; `code` is the function's module or the schema, as text."""

    name: str
    code: str = ""

    @property
    def digest(self) -> str:
        """The start of the code's SHA-256, for the record; "" without code."""
        return hashlib.sha256(self.code.encode()).hexdigest()[:12] if self.code else ""


def load(name: str, code: str = "") -> CustomMetric | None:
    """Read the file that a metric needs, if its `code` is not known yet; None if it is built in."""
    kind, colon, rest = name.partition(":")
    if not colon or kind in ("field", "argument", "check"):
        return None
    if not code and kind not in ("regex", "number"):
        module = kind if kind.endswith(".py") else kind.replace(".", "/") + ".py"
        code = _read(Path(rest if kind == "schema" else module), name)
    metric = CustomMetric(name, code)
    _scorer(metric)  # refuses a broken one before anything is paid
    return metric


def _read(path: Path, name: str) -> str:
    try:
        code = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"the file of the metric cannot be read ({type(error).__name__})",
            where=f"metric {name}, {path}",
            fix=f"name a metric as {_FORMS}, relative to the current folder",
        ) from None
    if len(code.encode()) > _MAX_CODE_BYTES:
        raise UsageError(
            f"the file has {len(code.encode()):,} bytes, more than {_MAX_CODE_BYTES:,}",
            where=str(path),
            fix="keep the metric in a file of its own",
        )
    return code


def measure(metric: CustomMetric, rows: Sequence[Prediction]) -> Metric:
    """Score each row's answer; a missing answer scores 0."""
    score = _scorer(metric)
    scores = [0.0 if row.prediction is None else _checked(score, row, metric) for row in rows]
    is_share = all(value in (0.0, 1.0) for value in scores)
    return share(metric.name, list(map(bool, scores))) if is_share else mean(metric.name, scores)


def _checked(score: Callable[[Prediction], Any], row: Prediction, metric: CustomMetric) -> float:
    where = f"metric {metric.name}, row {row.id}"
    try:
        value = score(row)
    except Exception as error:
        failure = f"the metric failed with {type(error).__name__}"
        raise UsageError(failure, where=where, fix="try the function on this row") from error
    if not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise UsageError(
            f"the metric returned no number in 0..1 (its type is {type(value).__name__})",
            where=where,
            fix="return 0 for the worst and 1 for the best answer",
        )
    return float(value)


def _scorer(metric: CustomMetric) -> Callable[[Prediction], Any]:
    kind, _, rest = metric.name.partition(":")
    match kind:
        case "regex":
            return _regex(rest)
        case "number":
            return _number(rest)
        case "schema":
            return _schema(metric)
    return _function(metric, rest)


def _regex(pattern: str) -> Callable[[Prediction], bool]:
    try:
        compiled = re.compile(pattern, re.S)
    except re.error as error:
        raise UsageError(
            f"the pattern is not a regular expression ({error})", where="metric", fix="correct it"
        ) from None
    return lambda row: compiled.fullmatch((row.prediction or "").strip()) is not None


def _number(tolerance: str) -> Callable[[Prediction], bool]:
    relative = tolerance.endswith("%")
    try:
        size = float(tolerance.removesuffix("%") or 0)
    except ValueError:
        size = math.nan
    if not 0 <= size < math.inf:
        raise UsageError(
            f"{tolerance!r} is not a tolerance", where="metric", fix="number:0.01 or number:1%"
        )

    def right(row: Prediction) -> bool:
        expected = _last_number(row.reference)
        answer = _last_number(unwrapped(row.prediction or ""))
        if expected is None or answer is None:
            return False
        return abs(answer - expected) <= (size / 100 * abs(expected) if relative else size) + 1e-12

    return right


def _last_number(text: str) -> float | None:
    """The last number of a text, which is where a reasoned answer has its result."""
    numbers = list(_NUMBER.finditer(text))
    if not numbers:
        return None
    number, marks = numbers[-1][0].replace("−", "-"), numbers[-1].lastgroup
    if marks == "commas":
        return float(re.sub("[,\u202f]", "", number))
    return float((number.replace(".", "") if marks == "points" else number).replace(",", "."))


def _schema(metric: CustomMetric) -> Callable[[Prediction], bool]:
    from jsonschema import SchemaError, validators

    try:
        schema = json.loads(metric.code)
        kind = validators.validator_for(schema)
        kind.check_schema(schema)
    except (ValueError, SchemaError) as error:
        raise UsageError(
            f"the file is not a JSON Schema ({type(error).__name__})",
            where=f"metric {metric.name}",
            fix="check it with a JSON Schema validator",
        ) from None
    validator = kind(schema)

    def right(row: Prediction) -> bool:
        try:
            value = json.loads(json_text(row.prediction or ""))
        except (ValueError, RecursionError):
            return False
        return bool(validator.is_valid(value))

    return right


def _function(metric: CustomMetric, name: str) -> Callable[[Prediction], Any]:
    namespace: dict[str, Any] = {"__name__": "tunepipe_custom_metric"}
    try:
        exec(compile(metric.code, metric.name, "exec"), namespace)  # noqa: S102 the user's own code
    except Exception as error:
        raise UsageError(
            f"the module of the metric cannot be loaded ({type(error).__name__}: {error})",
            where=f"metric {metric.name}",
            fix="it may import the standard library and what the step has installed",
        ) from error
    function = namespace.get(name)
    if not callable(function):
        raise UsageError(
            f"the module has no function {name}",
            where=f"metric {metric.name}",
            fix=f"name a metric as {_FORMS}",
        )
    taken = 3 if len(inspect.signature(function).parameters) >= 3 else 2
    return lambda row: function(*(row.prediction, row.reference, row.input)[:taken])
