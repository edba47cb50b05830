"""Whole reports: every count, every statistic and every word of the problems.

python -m tests.validation.test_whole_reports    # writes reports.json anew; read its diff
"""

import json
import tempfile
from pathlib import Path

import pytest

from tests import defects
from tunepipe.validation.validate import validate

GOLDEN = Path(__file__).with_name("reports.json")
CASES = Path(__file__).parents[1] / "fixtures" / "cases"
HEAVY = ("too_long", "overlong_line", "deep_nesting")
SCRIPTS = (
    "ひらがな", "ｶﾀｶﾅ", "한국어", "漢字", "ภาษาไทย", "עברית", "ελληνικά", "العربية",
    "русский", "हिन्दी", "What is this?", "Was soll das?", "¿?", "12",
    "é" * 399 + "あ", "é" * 400 + "あ",
)  # fmt: skip


def lines_with_defects(format: str) -> list[bytes]:
    kinds = {**defects.PAIR_KINDS, **(defects.MESSAGE_KINDS if format == "messages" else {})}
    planted = [make(format) for kind, (_, make) in kinds.items() if kind not in HEAVY]
    return defects.sound_lines(format, 10) + planted


def lines_of(format: str, *pairs: tuple[str, str]) -> list[bytes]:
    return [defects.line(defects.row(format, *pair)) for pair in pairs]


def long_and_short() -> list[bytes]:
    lengths = [1, 2, 4, 9, 10, 99, 100, 101, 4095, 4096, 4097, 8193, 100_001]
    long = [("ab " * length, "yes") for length in lengths]
    scripts = [(f"{text} {n}", "no") for n, text in enumerate(SCRIPTS)]
    runs = [("a" * 500 + "-" * 700, "あ" * 900)]
    return lines_of("palm", *((x[: len(x) // 3], y) for x, y in long), *scripts, *runs)


def near() -> list[bytes]:
    words = [f"word{n}" for n in range(60)]
    texts = [" ".join(words), " ".join([*words[:-1], "other"]), " ".join(words[30:])]
    return lines_of("palm", *((text, f"answer {n}") for n, text in enumerate(texts)))


def repeated() -> list[bytes]:
    return lines_of(
        "palm", ("one", "1"), ("two", "2"), ("one", "1"), ("two", "3"), ("three", "4"), ("two", "2")
    )


def case(name: str) -> list[bytes]:
    return (CASES / f"{name}.jsonl").read_bytes().splitlines()


# The files of a dataset, and how it is validated.
REPORTS = {
    **{
        f"defects of {format}": ([lines_with_defects(format)], {"pii": True})
        for format in ("palm", "messages", "gemini", "preference")
    },
    "lengths and languages": ([long_and_short()], {}),
    "few problems listed": ([lines_with_defects("palm"), repeated()], {"max_problems": 3}),
    "repeats over two files": ([repeated(), repeated()], {"near_duplicates": True}),
    "near duplicates": ([near()], {"near_duplicates": True}),
    "pictures": ([case("gemini_forty_images") + case("empty_text_beside_file")], {}),
    "scores": ([case("preference_scores")], {}),
}


def described(name: str, folder: Path, fast_from_bytes: int = 1 << 30) -> dict[str, object]:
    contents, options = REPORTS[name]
    files = [folder / f"{number}.jsonl" for number in range(len(contents))]
    for file, lines in zip(files, contents, strict=True):
        file.write_bytes(b"\n".join(lines) + b"\n")
    report = validate(files, fast_from_bytes=fast_from_bytes, **options).as_json()
    problems = [
        f"{Path(each['path']).name}:{each['line']} {each['level']} {each['code']} "
        f"{each['field']}: {each['message']} | {each['fix']}"
        for each in report.pop("problems")
    ]
    stats = {key: json.dumps(value) for key, value in report.pop("stats").items()}
    known = ("format", "model", "rows", "valid_rows", "problems_total", "counts")
    found = {**{key: report[key] for key in known}, "stats": stats, "problems": problems}
    return dict(json.loads(json.dumps(found).replace(f"{folder}/", "")))


@pytest.mark.parametrize("fast_from_bytes", [0, 1 << 30])
@pytest.mark.parametrize("name", REPORTS)
def test_a_report_says_this_and_nothing_else(tmp_path, name, fast_from_bytes):
    expected = json.loads(GOLDEN.read_text(encoding="utf-8"))[name]
    assert described(name, tmp_path, fast_from_bytes) == expected


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        reports = {name: described(name, Path(folder)) for name in REPORTS}
    GOLDEN.write_text(json.dumps(reports, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
