"""Whole scores: every metric of every task, with slices, differences and the verdict's sentence.

python -m tests.evaluation.test_whole_scores    # writes scores.json anew; read its diff
"""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from tunepipe.data.parts import Call, write_answer
from tunepipe.data.predictions import Prediction
from tunepipe.evaluation.score import evaluate

GOLDEN = Path(__file__).with_name("scores.json")
ROWS = 40
WORDS = (
    *("the", "tea", "of", "12", "May", "2026", "costs", "3,50", "EUR", "at"),
    *("https://example.com,", "東京", "です", "and", "not", "4", "%", "more"),
)


def text(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(3, 12)))


def label(rng: random.Random) -> str:
    return rng.choice(["yes", "no", "no", "maybe"])


def json_(rng: random.Random) -> str:
    return json.dumps(
        {"total": rng.randint(1, 3), "items": rng.sample("abc", 2), "note": label(rng)}
    )


def calls(rng: random.Random) -> str:
    chosen = [Call(rng.choice(["weather", "time"]), {"city": rng.choice(["Rome", "Oslo"])})]
    return write_answer("", chosen * rng.randint(1, 2))


MAKERS = {"text": text, "classification": label, "json": json_, "calls": calls}
WRAPPINGS = ("{}", "{}", "**{}**", "Answer: {}", "```json\n{}\n```", '"{}"', " {}.\n")


def answered(task: str, right: float, seed: int, **fields: Any) -> list[Prediction]:
    """Rows whose references are the same for each seed, and answers of which a part are right."""
    references, rng = random.Random(1), random.Random(seed)
    rows = []
    for number in range(ROWS):
        reference = MAKERS[task](references)
        answer = reference if rng.random() < right else MAKERS[task](rng)
        about = {"language": references.choice(["en", "ja"]), "shop": f"s{number // 3}"}
        row = Prediction(
            str(number), f"question {number}", reference,
            None if rng.random() < 0.05 else rng.choice(WRAPPINGS).format(answer),
            seconds=0.1 + 0.01 * number, input_tokens=number, output_tokens=2 * number,
            fields=about,
        )  # fmt: skip
        rows.append(row)
    return rows


def often(rows: list[Prediction]) -> list[Prediction]:
    """The same rows, each answered twice."""
    from dataclasses import replace

    again = [replace(row, answer=1, prediction=other.prediction) for row, other in
             zip(rows, rows[1:] + rows[:1], strict=True)]  # fmt: skip
    return rows + again


CASES: dict[str, dict[str, Any]] = {
    **{task: {"task": task} for task in MAKERS},
    "text, content decides": {"task": "text", "normalize": "content", "metric": "bleu", "seed": 3},
    "labels by group and slice": {
        "task": "classification", "metric": "macro_f1", "group_by": "shop", "slice_by": ["language"]
    },
    "missing answers left out": {"task": "json", "missing": "excluded", "margin": 0.05, "look": 2},
    "a number": {"task": "text", "metric": "number:0.5"},
    "a pattern": {"task": "text", "metric": "regex:[0-9]+ EUR"},
    "answers twice": {"task": "text"},
    "one model": {"task": "classification", "slice_by": ["language"]},
}  # fmt: skip


def rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, list | tuple) else value


def described(case: str) -> dict[str, Any]:
    settings = CASES[case]
    tuned, base = answered(settings["task"], 0.7, 5), answered(settings["task"], 0.4, 6)
    if case == "answers twice":
        tuned, base = often(tuned), often(base)
    found = evaluate(tuned, None if case == "one model" else base, **settings)
    details = rounded(found.details() | {"decision": found.decide()})
    return {name: json.dumps(value, ensure_ascii=False) for name, value in details.items()}


@pytest.mark.parametrize("case", CASES)
def test_a_score_says_this_and_nothing_else(case: str) -> None:
    assert described(case) == json.loads(GOLDEN.read_text(encoding="utf-8"))[case]


if __name__ == "__main__":
    everything = {case: described(case) for case in CASES}
    text_ = json.dumps(everything, indent=1, ensure_ascii=False)
    GOLDEN.write_text(text_ + "\n", encoding="utf-8")
