import pytest

from tests import defects
from tunepipe.data.formats import FORMATS
from tunepipe.validation.validate import validate

HEAVY = ("too_long", "overlong_line")

CASES = [
    (format, kind)
    for format in FORMATS
    # The formats share most of their code: three go through every kind, the others through some.
    for kind in defects.kinds(format)[:: 1 if format in ("palm", "messages", "gemini") else 4]
    if not (kind in HEAVY and format != "palm")
    # A row without its only field is of no format at all.
    and not (kind in ("missing_field", "misspelt_key") and format in ("palm-chat", "messages"))
]


@pytest.mark.parametrize(("format", "kind"), CASES)
def test_each_defect_is_reported_at_its_line_and_nothing_else(tmp_path, format, kind):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(defects.plant(kind, format))
    report = validate([path], format=format)
    found = sorted((problem.line, problem.code) for problem in report.problems)
    assert found == sorted(defects.expected(kind))
    assert report.problems_total == len(found)
