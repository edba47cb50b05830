"""A language model as judge: which of two answers is better, asked in both orders.

Judges prefer what stands first, so each pair is asked twice with the answers swapped, and only two
replies that name the same answer are a win; anything else is a tie. The prompt and the model are
kept with the result. What it will cost is estimated before the first question.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from tunepipe.backends.answer_file import AnswerFile
from tunepipe.backends.base import Answer
from tunepipe.catalog.catalog import Catalog, load_catalog
from tunepipe.data.predictions import Prediction
from tunepipe.errors import CloudError, LimitError, UsageError
from tunepipe.evaluation.comparison import EXCLUDED, Comparison, compare
from tunepipe.evaluation.judge_prompt import PROMPT, check_template, material
from tunepipe.gcp.credentials import no_token
from tunepipe.planning.costs import tokens_from_characters
from tunepipe.progress import Progress

Ask = Callable[[str], str]

_REPLIES = {"A": "first", "B": "second", "TIE": "tie"}
WIN, LOSS, TIE = "win", "loss", "tie"
# RFC 9110: the statuses after which the same request may succeed.
_TRANSIENT = [408, 429, 500, 502, 503, 504]


@dataclass(frozen=True)
class Judged:
    """One row's judgement.

    Args:
        id: The row.
        outcome: "win" (for the tuned model), "loss", "tie", or None where there is none.
        disagreed: Whether the two orders gave different answers, which is a tie.
        error: Why there is no outcome: a model's missing answer, or the judge's.
        asked: Whether the judge was asked: not where the answers are the same or one is missing.
    """

    id: str
    outcome: str | None
    disagreed: bool = False
    error: str = ""
    asked: bool = True


@dataclass(frozen=True)
class Judgement:
    """What the judge said of all rows.

    Args:
        model: The judge's name.
        prompt: The template it was asked with.
        estimated_cost_usd: What was estimated before, of all questions, also those that an earlier
            run had asked; None without a price.
        rows: Each row's judgement, in order.
        comparison: The verdict, from wins and losses as McNemar's test takes them.
    """

    model: str
    prompt: str
    estimated_cost_usd: float | None
    rows: list[Judged]
    comparison: Comparison

    def as_json(self) -> dict[str, Any]:
        """Give everything but the rows' texts, for the report.

        Of the `judged` rows, which were asked in both orders, `disagreements` ended in two minds.
        """
        return {
            "model": self.model,
            "prompt": self.prompt,
            "estimated_cost_usd": self.estimated_cost_usd,
            "judged": sum(row.asked and row.outcome is not None for row in self.rows),
            "disagreements": sum(row.disagreed for row in self.rows),
            "unjudged": sum(row.outcome is None for row in self.rows),
            "comparison": self.comparison.as_json(),
            "rows": [{"id": row.id, "outcome": row.outcome} for row in self.rows],
        }


@dataclass(frozen=True)
class Price:
    """What the judge charges, in US dollars for a million tokens.

    Args:
        input_usd: For what it reads, >= 0.
        output_usd: For what it writes, its thinking included, >= 0.
        output_tokens: How many tokens a reply is thought to take. One word takes few, but a model
            that thinks first writes hundreds.
    """

    input_usd: float
    output_usd: float
    output_tokens: int = 500

    @classmethod
    def known(cls, model: str, catalog: Catalog | None = None) -> Price | None:
        """Look up what a model charges.

        Args:
            model: Such as gemini-3.5-flash.
            catalog: The dated tables; None for the package's own.

        Returns:
            The price; None where no price is known.
        """
        prices = (catalog or load_catalog()).prices
        row = prices.answers.get(model)
        if row is None:
            return None
        tokens = prices.judge.tokens_a_reply
        return cls(row.usd_per_million_read, row.usd_per_million_written, tokens)

    def of(self, prompts: Sequence[str]) -> float:
        """Estimate what asking all these costs, in US dollars."""
        text = "".join(prompts)
        read = tokens_from_characters(len(text), sum(not c.isascii() for c in text))
        written = self.output_tokens * len(prompts)
        return (read * self.input_usd + written * self.output_usd) / 1e6


@dataclass(frozen=True)
class Bill:
    """What is about to be asked.

    Args:
        questions: How many; each costs.
        kept: How many more were answered already and cost nothing.
        cost_usd: The estimate for `questions`; None without a price.
    """

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
    price: Price | None = None,
    max_cost_usd: float = 0.0,
    workers: int = 8,
    work_dir: str = "",
    agree: Callable[[Bill], None] = lambda bill: None,
    progress: Progress = lambda event: None,
) -> Judgement:
    """Let a model judge each row in both orders.

    Rows with the same answer are a tie unasked; rows that a model did not answer, or whose judge
    failed or replied something else, are left out and counted.

    Args:
        tuned: The tuned model's predictions.
        base: The other model's, on the same rows.
        ask: Puts one prompt to the judge; see `gemini`.
        model: The judge's name, for the record.
        prompt: A template with $input, $reference, $first and $second.
        price: What the judge charges; None if not known.
        max_cost_usd: Ask nothing if the estimate is above this; 0 sets no ceiling.
        workers: How many questions are under way at once, >= 1.
        work_dir: Where replies are kept as they come: what was asked of this model is not asked
            again. "" keeps none.
        agree: Told what is about to be asked, before it is; an error that it raises ends all.
        progress: Told of `done` and `total` rows.

    Raises:
        LimitError: The estimate is above the ceiling, or there is a ceiling and no price.
        UsageError: The two do not hold the same rows, or the template is none.
        CloudError: The judge failed on every row that it was asked.
    """
    check_template(prompt)
    pairs = _paired(tuned, base)
    questions = [one for pair in pairs if _open(*pair) for one in _prompts(*pair, prompt)]
    with _kept(work_dir, model) as replies:
        asked = [one for one in questions if replies is None or _id(one) not in replies.answered]
        cost = price.of(asked) if price else None
        _check_cost(len(asked), cost, max_cost_usd)
        agree(Bill(len(asked), len(questions) - len(asked), cost))
        rows = _all_judged(pairs, _remembering(ask, replies), prompt, workers, progress)
    _check_reached(rows)
    scores = [_SCORES[row.outcome] for row in rows]
    comparison = compare(
        [ours for ours, _ in scores],
        [theirs for _, theirs in scores],
        metric="judge",
        missing=EXCLUDED,
    )
    return Judgement(model, prompt, price.of(questions) if price else None, rows, comparison)


def _paired(
    tuned: Sequence[Prediction], base: Sequence[Prediction]
) -> list[tuple[Prediction, Prediction]]:
    others = {row.id: row for row in base}
    if {row.id for row in tuned} != set(others):
        raise UsageError(
            "the two models' predictions are not of the same rows",
            where="judge",
            fix="let both models answer the same held-out file",
        )
    return [(row, others[row.id]) for row in tuned]


@contextmanager
def _kept(work_dir: str, model: str) -> Iterator[AnswerFile | None]:
    if not work_dir:
        yield None
        return
    with AnswerFile.open(Path(work_dir) / f"judge-{_id(model)[:16]}.jsonl") as file:
        yield file


def _id(question: str) -> str:
    return hashlib.sha256(question.encode("utf-8", "surrogatepass")).hexdigest()


def _remembering(ask: Ask, replies: AnswerFile | None) -> Ask:
    """Ask only what has no reply yet, and keep each reply."""
    if replies is None:
        return ask

    def asked(question: str) -> str:
        if known := replies.answered.get(_id(question)):
            return str(known.text)
        text = ask(question)
        replies.add(Answer(_id(question), text))
        return text

    return asked


def _all_judged(
    pairs: Sequence[tuple[Prediction, Prediction]],
    ask: Ask,
    prompt: str,
    workers: int,
    progress: Progress,
) -> list[Judged]:
    rows = []
    with ThreadPoolExecutor(workers) as pool:
        for row in pool.map(lambda pair: _judged(pair[0], pair[1], ask, prompt), pairs):
            rows.append(row)
            progress({"done": len(rows), "total": len(pairs)})
    return rows


# A tie scores both, so that all scores are right or wrong and McNemar's exact test applies.
_SCORES: Mapping[str | None, tuple[float | None, float | None]] = {
    WIN: (1.0, 0.0),
    LOSS: (0.0, 1.0),
    TIE: (1.0, 1.0),
    None: (None, None),
}
_JUDGE_FAILED = "the judge failed: "


def _check_cost(questions: int, cost: float | None, max_cost_usd: float) -> None:
    if not (max_cost_usd and questions):
        return
    if cost is None:
        raise LimitError(
            f"a ceiling of {max_cost_usd:.2f} USD is set, but the judge has no price",
            where="max_cost_usd",
            fix="give the judge's price in tables.prices.answers, or set no ceiling",
        )
    if cost > max_cost_usd:
        raise LimitError(
            f"judging is estimated at {cost:.2f} USD for {questions:,} questions, above the "
            f"ceiling of {max_cost_usd:.2f} USD",
            where="max_cost_usd",
            fix="fewer rows, another judge, or a higher ceiling",
        )


def _open(ours: Prediction, theirs: Prediction) -> bool:
    answers = (ours.prediction, theirs.prediction)
    return None not in answers and answers[0] != answers[1]


def _prompts(ours: Prediction, theirs: Prediction, prompt: str) -> tuple[str, str]:
    """The question with the tuned model's answer first, and with it second."""
    fields = {"input": material(ours.input), "reference": material(ours.reference)}
    one, other = material(ours.prediction or ""), material(theirs.prediction or "")
    template = Template(prompt)
    return (
        template.substitute(fields, first=one, second=other),
        template.substitute(fields, first=other, second=one),
    )


def _judged(ours: Prediction, theirs: Prediction, ask: Ask, prompt: str) -> Judged:
    if ours.prediction is None or theirs.prediction is None:
        return Judged(ours.id, None, error="a model gave no answer", asked=False)
    if ours.prediction == theirs.prediction:
        return Judged(ours.id, TIE, asked=False)
    try:
        forward, backward = (_reply(ask(question)) for question in _prompts(ours, theirs, prompt))
    except CloudError as error:
        return Judged(ours.id, None, error=f"{_JUDGE_FAILED}{error.found}")
    if forward is None or backward is None:
        return Judged(ours.id, None, error="the judge's reply was none of A, B and TIE")
    if (forward, backward) == ("first", "second"):
        return Judged(ours.id, WIN)
    if (forward, backward) == ("second", "first"):
        return Judged(ours.id, LOSS)
    return Judged(ours.id, TIE, disagreed=(forward, backward) != ("tie", "tie"))


def _reply(text: str) -> str | None:
    """Read a reply: one word, whatever stars, quotes or full stop stand round it."""
    return _REPLIES.get(text.strip().strip("*_`\"'.:()[] ").upper())


def _check_reached(rows: Sequence[Judged]) -> None:
    failed = [row for row in rows if row.error.startswith(_JUDGE_FAILED)]
    if failed and len(failed) == sum(row.asked for row in rows):
        raise CloudError(
            failed[0].error.removeprefix(_JUDGE_FAILED),
            where="judge",
            fix="check the judge's model, its region and your permission to ask it",
        )


def gemini(client: Any, model: str, attempts: int = 6) -> Ask:
    """Ask a Gemini model through google-genai.

    Args:
        client: A `google.genai.Client`; its region is where the texts go.
        model: Such as "gemini-2.5-flash".
        attempts: Tries a question, >= 1, with growing pauses between.

    Returns:
        A function from a prompt to the reply, "" where the model gave no text. Rate limits and
        failures that pass are waited out; it raises CloudError where the service says no.
    """
    from google.auth.exceptions import GoogleAuthError
    from google.genai.errors import APIError
    from google.genai.types import GenerateContentConfig, HttpOptions, HttpRetryOptions

    retries = HttpRetryOptions(attempts=attempts, http_status_codes=_TRANSIENT)
    config = GenerateContentConfig(
        temperature=0.0, candidate_count=1, seed=0, http_options=HttpOptions(retry_options=retries)
    )

    def ask(prompt: str) -> str:
        try:
            reply = client.models.generate_content(model=model, contents=prompt, config=config)
        except APIError as error:
            raise CloudError(
                f"{error.code} {error.status}",
                where=model,
                fix="check the judge's model, its region and your permission to ask it",
            ) from error
        except GoogleAuthError as error:
            raise no_token(error, model) from error
        except _transport_errors() as error:
            raise CloudError(
                f"the service was not reached ({type(error).__name__})",
                where=model,
                fix="check the network, and the client's timeout",
            ) from error
        return reply.text or ""

    return ask


def _transport_errors() -> tuple[type[Exception], ...]:
    """The errors of a connection, in whichever of two libraries the client speaks HTTP."""
    from importlib import import_module
    from importlib.util import find_spec

    found = [name for name in ("httpx", "httpx2") if find_spec(name)]
    return tuple(import_module(name).HTTPError for name in found)
