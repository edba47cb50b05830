"""A language model as judge: which of two answers is better, asked in both orders.

Judges prefer what comes first, so each pair is asked twice with the answers swapped, and only two
replies that name the same answer are a win; anything else is a tie. The prompt and the model are
kept with the result. What it will cost is estimated before the first question.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory
from typing import Any

from tunepipe.backends.answer_file import AnswerFile
from tunepipe.backends.base import Answer
from tunepipe.catalog.catalog import Catalog, load_catalog
from tunepipe.catalog.limits import estimated_tokens
from tunepipe.catalog.schema import Prices
from tunepipe.data.predictions import Prediction, read_lines
from tunepipe.errors import CloudError, LimitError, UsageError, dollars, plural
from tunepipe.evaluation.comparison import compare
from tunepipe.evaluation.intervals import wilson
from tunepipe.evaluation.judge_prompt import PROMPT, check_template, material
from tunepipe.evaluation.metric import Clusters
from tunepipe.gcp import retries
from tunepipe.gcp.genai import translate_errors
from tunepipe.gcp.retries import status_of
from tunepipe.progress import Progress
from tunepipe.reporting.facts import (
    EXCLUDED,
    INCONSISTENT,
    WRONG,
    Agreement,
    Judge,
    JudgedRow,
    LengthBias,
)

Ask = Callable[[str], str]
# A row's answers of the tuned and the other model, and what is asked about them.
_Pair = tuple[Prediction, Prediction, Sequence[str]]

_REPLIES = ["A", "B", "TIE"]
_REPLY = re.compile(r"(?:answer[\s:-]*)?(A|B|TIE)", re.IGNORECASE)
WIN, LOSS, TIE = "win", "loss", "tie"
# More unreadable replies than this share, or fewer rows with one answer in both orders, and the
# judge's verdict says nothing.
_MAX_UNREADABLE, _MIN_CONSISTENCY = 0.1, 0.5
# Below these the judge is not calibrated against people, and may not decide.
MIN_HUMAN_ROWS, MIN_KAPPA = 30, 0.4


class UnreadableJudgeError(CloudError):
    """More than a tenth of the judge's replies cannot be read."""


@dataclass(frozen=True)
class _Judged:
    """One row's judgement: "win" (for the tuned model), "loss", "tie", or None and the error.

    A judge is not `asked` where the answers are the same or one is missing; `disagreed` is a tie
    of two orders with different replies; `longer` says whether the tuned model's answer is the
    longer one, None if both are equally long.
    """

    id: str
    outcome: str | None
    error: str = ""
    asked: bool = True
    disagreed: bool = False
    longer: bool | None = None


@dataclass(frozen=True)
class Bill:
    """The questions that are about to be asked, those answered before (`kept`), and the cost."""

    questions: int
    kept: int
    cost_usd: float | None


def judge(
    tuned: Sequence[Prediction],
    base: Sequence[Prediction],
    ask: Ask,
    *,
    model: str,
    prompt: str = PROMPT,
    catalog: Catalog | None = None,
    max_cost_usd: float = 0.0,
    workers: int = 8,
    work_dir: str = "",
    humans: Mapping[str, str] | None = None,
    missing: str = WRONG,
    agree: Callable[[Bill], None] = lambda bill: None,
    progress: Progress = lambda event: None,
) -> Judge:
    """Ask a model to judge each row in both orders.

    Rows with the same answer are a tie at no cost, and a row that the tuned model alone left
    unanswered is a loss, unless `missing` is "excluded"; other rows without an answer, and those
    whose judge failed or replied something else, are left out and counted.

    `ask` puts one question to the judge (see `gemini`), some of them at a time (`workers`). Replies
    are kept in `work_dir`, if there is one, as they come: what was asked of this model is not asked
    again. `agree` receives what is about to be asked; an error that it raises ends all. `humans`
    has what people prefer, by the row's id, as `read_preferences` gives it.

    Raises:
        LimitError: The estimate is above the ceiling, or there is a ceiling and no price.
        CloudError: The judge failed on every row that it was asked, or more than a tenth of its
            replies cannot be read.
    """
    check_template(prompt)
    others = {row.key: row for row in base}
    if {row.key for row in tuned} != set(others):
        raise UsageError(
            "the two models' predictions are not of the same rows",
            where="judge",
            fix="let both models answer the same held-out file",
        )
    pairs: list[_Pair] = [
        (row, others[row.key], _questions(row, others[row.key], prompt)) for row in tuned
    ]
    questions = [question for *_, both in pairs for question in both]
    cost = partial(_cost_usd, model=model, prices=(catalog or load_catalog()).prices)
    rows: list[_Judged] = []
    with (
        TemporaryDirectory() as thrown_away,
        AnswerFile.open(
            Path(work_dir or thrown_away) / f"judge-{_id(model)[:16]}.jsonl"
        ) as replies,
        ThreadPoolExecutor(workers) as pool,
    ):
        new = [question for question in questions if _id(question) not in replies.answered]
        bill = Bill(len(new), len(questions) - len(new), cost(new))
        _check_cost(bill, max_cost_usd)
        agree(bill)

        def ask_once(question: str) -> str:
            if known := replies.answered.get(_id(question)):
                return str(known.text)
            text = ask(question)
            replies.add(Answer(_id(question), text))
            return text

        for row in pool.map(lambda pair: _judged(pair, ask_once, missing), pairs):
            rows.append(row)
            progress({"done": len(rows), "total": len(pairs)})
    _check_readable(rows)
    judged = [row for row in rows if row.asked and row.outcome is not None]
    disagreements = sum(row.disagreed for row in judged)
    consistency = 1 - disagreements / len(judged) if judged else None
    ours, theirs = zip(*(_SCORES[row.outcome] for row in rows), strict=True) if rows else ((), ())
    groups = list(map(str, Clusters.of_rows(tuned).of_row.tolist()))
    comparison = compare(ours, theirs, metric="judge", groups=groups, missing=EXCLUDED)
    inconsistent = consistency is not None and consistency < _MIN_CONSISTENCY
    return Judge(
        model=model,
        prompt=prompt,
        estimated_cost_usd=cost(questions),
        judged=len(judged),
        disagreements=disagreements,
        unjudged=sum(row.outcome is None for row in rows),
        verdict=INCONSISTENT if inconsistent else comparison.verdict,
        consistency=consistency,
        length_bias=_length_bias(judged),
        agreement=_agreement(rows, humans or {}),
        comparison=comparison,
        rows=[JudgedRow(row.id, row.outcome) for row in rows],
    )


def _length_bias(judged: Sequence[_Judged]) -> LengthBias | None:
    decided = [
        (row.outcome == WIN) == row.longer
        for row in judged
        if row.outcome != TIE and row.longer is not None
    ]
    if not decided:
        return None
    longer, rows = sum(decided), len(decided)
    return LengthBias(rows, longer / rows, *wilson(longer, rows))


def _agreement(rows: Sequence[_Judged], humans: Mapping[str, str]) -> Agreement | None:
    """Compare the outcomes with people's.

    Source: J. Cohen, Educational and Psychological Measurement 20 (1960), 37-46.
    """
    pairs = [(row.outcome, humans[row.id]) for row in rows if row.id in humans and row.outcome]
    if not pairs:
        return None
    alike = sum(judge == human for judge, human in pairs) / len(pairs)
    judges, people = (Counter(side) for side in zip(*pairs, strict=True))
    by_chance = sum(judges[kind] * people[kind] for kind in judges) / len(pairs) ** 2
    # Where both always say the same one thing, nothing shows that the judge can tell answers apart.
    kappa = (alike - by_chance) / (1 - by_chance) if by_chance < 1 else 0.0
    return Agreement(len(pairs), alike, kappa)


def check_calibrated(judge: Judge) -> None:
    """Refuse a judge without a kappa of 0.4 or more on 30 rows that people compared too."""
    people = judge.agreement or Agreement()
    if people.rows < MIN_HUMAN_ROWS or people.kappa < MIN_KAPPA:
        raise UsageError(
            f"the judge agrees with people on {plural(people.rows, 'row')} with a kappa of "
            f"{people.kappa:.2f}; it decides from {MIN_HUMAN_ROWS} rows and {MIN_KAPPA} on",
            where="--judge-decides",
            fix="let people compare more rows, use another judge, or let a metric decide",
        )


def _id(question: str) -> str:
    return hashlib.sha256(question.encode("utf-8", "surrogatepass")).hexdigest()


# A tie scores both, so that all scores are right or wrong and McNemar's exact test applies.
_SCORES: Mapping[str | None, tuple[float | None, float | None]] = {
    WIN: (1.0, 0.0),
    LOSS: (0.0, 1.0),
    TIE: (1.0, 1.0),
    None: (None, None),
}
_JUDGE_FAILED = "the judge failed: "
_UNREADABLE = "the judge's reply was none of A, B and TIE"


def _cost_usd(questions: Sequence[str], model: str, prices: Prices) -> float | None:
    """Estimate what the questions cost; None without a price. Models think before their word."""
    price = prices.answers.get(model)
    if price is None:
        return None
    text = "".join(questions)
    others = sum(not character.isascii() for character in text)
    read = estimated_tokens(len(text) - others, others)
    written = prices.judge.tokens_a_reply * len(questions)
    return (read * price.usd_per_million_read + written * price.usd_per_million_written) / 1e6


def _check_cost(bill: Bill, max_cost_usd: float) -> None:
    if not (max_cost_usd and bill.questions):
        return
    if bill.cost_usd is None:
        raise LimitError(
            f"a ceiling of {dollars(max_cost_usd)} is set, but the judge has no price",
            where="max_cost_usd",
            fix="give the judge's price in tables.prices.answers, or set no ceiling",
        )
    if bill.cost_usd > max_cost_usd:
        raise LimitError(
            f"judging is estimated at {dollars(bill.cost_usd)} for "
            f"{plural(bill.questions, 'question')}, above the ceiling of {dollars(max_cost_usd)}",
            where="max_cost_usd",
            fix="fewer rows, another judge, or a higher ceiling",
        )


def _questions(ours: Prediction, theirs: Prediction, prompt: str) -> list[str]:
    """Ask with the tuned model's answer first, and with it second; [] if nothing is to be asked."""
    if None in (ours.prediction, theirs.prediction) or ours.prediction == theirs.prediction:
        return []
    fields = {"input": material(ours.input), "reference": material(ours.reference)}
    tuned, other = material(ours.prediction or ""), material(theirs.prediction or "")
    orders = ((tuned, other), (other, tuned))
    return [Template(prompt).substitute(fields, first=a, second=b) for a, b in orders]


def _judged(pair: _Pair, ask: Ask, missing: str) -> _Judged:
    ours, theirs, questions = pair
    tuned, other = ours.prediction, theirs.prediction
    if tuned is None or other is None:
        lost = missing == WRONG and other is not None
        return _Judged(ours.id, LOSS if lost else None, error="a model gave no answer", asked=False)
    if not questions:
        return _Judged(ours.id, TIE, asked=False)
    try:
        texts = [ask(question) for question in questions]
    except CloudError as error:
        return _Judged(ours.id, None, error=f"{_JUDGE_FAILED}{error.found}")
    # One word each, whatever stars, quotes or full stop are round it.
    forward, backward = (_REPLY.fullmatch(text.strip().strip("*_`\"'.:()[] ")) for text in texts)
    if not (forward and backward):
        return _Judged(ours.id, None, error=_UNREADABLE)
    replies = forward[1].upper(), backward[1].upper()
    outcome = {("A", "B"): WIN, ("B", "A"): LOSS}.get(replies, TIE)
    disagreed = outcome == TIE and replies != ("TIE", "TIE")
    longer = None if len(tuned) == len(other) else len(tuned) > len(other)
    return _Judged(ours.id, outcome, disagreed=disagreed, longer=longer)


def _check_readable(rows: Sequence[_Judged]) -> None:
    total = sum(row.asked for row in rows)
    failed = [row for row in rows if row.error.startswith(_JUDGE_FAILED)]
    if failed and len(failed) == total:
        raise CloudError(
            failed[0].error.removeprefix(_JUDGE_FAILED),
            where="judge",
            fix="check the judge's model, its region and your permission to ask it",
        )
    unreadable = sum(row.error == _UNREADABLE for row in rows)
    if unreadable > _MAX_UNREADABLE * total:
        raise UnreadableJudgeError(
            f"the judge's replies to {unreadable:,} of {total:,} rows are none of A, B and TIE",
            where="judge",
            fix="use another judge, or a prompt that asks for one word; what was paid is kept",
        )


def gemini(client: Any, model: str, attempts: int = 6) -> Ask:
    """Ask a Gemini model by a `google.genai.Client`, whose region is where the texts go.

    A reply without a text is "". Rate limits and failures that pass are waited out; a refusal is a
    CloudError.
    """
    config = {
        "temperature": 0.0,
        "candidate_count": 1,
        "seed": 0,
        # The service lets the model write nothing else.
        "response_mime_type": "text/x.enum",
        "response_schema": {"type": "STRING", "enum": _REPLIES},
    }

    def ask_once(prompt: str) -> str:
        with translate_errors(model):
            reply = client.models.generate_content(model=model, contents=prompt, config=config)
        return reply.text or ""

    def ask(prompt: str) -> str:
        try:
            return retries.retry(lambda: ask_once(prompt), attempts=attempts)
        except CloudError as error:
            error.found = f"{status_of(error) or ''} {error.found}".strip()
            raise
        except ConnectionError as error:
            raise CloudError(
                f"the service was not reached ({error})",
                where=model,
                fix="check the network, and the client's timeout",
            ) from error

    return ask


def read_preferences(path: str) -> dict[str, str]:
    """Read lines of {"id", "preference": "tuned", "base" or "tie"}: win, loss or tie by id."""
    outcomes = {"tuned": WIN, "base": LOSS, "tie": TIE}
    preferences = {}
    for number, line in read_lines(path):
        try:
            row = json.loads(line)
            preferences[str(row["id"])] = outcomes[row["preference"]]
        except (ValueError, TypeError, KeyError):
            raise UsageError(
                "the line is not a preference",
                where=f"{path}, line {number}",
                fix='write {"id": "…", "preference": "tuned"}; or base, or tie',
            ) from None
    return preferences
