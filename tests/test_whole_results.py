"""Whole results in a notebook: the text of every cell that a result of the API shows.

python -m tests.test_whole_results    # writes results.json anew; read its diff
"""

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import pandas
import pytest

import tunepipe

GOLDEN = Path(__file__).with_name("results.json")
ROWS = [{"input_text": f"question {n}", "output_text": f"answer {n}"} for n in range(1200)]
FRAME = pandas.DataFrame(ROWS)
BAD = [*ROWS, *({"input_text": f"question {n} again", "other": "x"} for n in range(11))]
ANSWERS = pandas.DataFrame(
    [
        {"id": str(n), "input": f"q {n}", "reference": "yes", "prediction": "yes" if n % 3 else "x"}
        for n in range(60)
    ]
)
BASE = ANSWERS.assign(prediction="no")
RESULTS: dict[str, Any] = {
    "rows that pass": lambda _: tunepipe.validate(FRAME),
    "more problems than are shown": lambda _: tunepipe.validate(pandas.DataFrame(BAD)),
    "few problems": lambda _: tunepipe.validate(pandas.DataFrame(BAD[:1201])),
    "a split": lambda folder: tunepipe.split(FRAME, train=folder / "t", eval=folder / "e"),
    "a plan": lambda _: tunepipe.plan(rows=240, region="us-central1"),
    "scores": lambda _: tunepipe.score(ANSWERS),
    "scores with a baseline": lambda _: tunepipe.score(ANSWERS, BASE),
    "a run that failed": lambda _: tunepipe.Run("r", "failed", reason="no rows"),
    "a run": lambda _: tunepipe.Run(
        "r", "succeeded", "better", results={"summary": "s.md", "report": "r.html"}, page="p"
    ),
}


def described(name: str, folder: Path) -> list[str]:
    html = RESULTS[name](folder)._repr_html_().replace(f"{folder}/", "")
    return [text.strip() for text in re.findall(r">([^<]+)<", html) if text.strip()]


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_shows_this_and_nothing_else(name: str, tmp_path: Path) -> None:
    assert described(name, tmp_path) == json.loads(GOLDEN.read_text(encoding="utf-8"))[name]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        results = {name: described(name, Path(place)) for name in RESULTS}
    GOLDEN.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
