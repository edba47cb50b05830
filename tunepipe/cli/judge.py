"""A model as judge, asked from the command line: it shows the cost first and asks for consent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tunepipe.cli.inputs import local_copy
from tunepipe.cli.output import Output, agree
from tunepipe.errors import UsageError

if TYPE_CHECKING:
    from tunepipe.catalog.catalog import Catalog
    from tunepipe.data.predictions import Prediction
    from tunepipe.evaluation.judge import Bill, Judgement


@dataclass(frozen=True)
class JudgeOptions:
    """The judge's model and settings.

    Args:
        model: Such as gemini-3.5-flash; "" for no judge.
        project: The project that pays.
        region: Where the texts may go.
        prompt: A file with the template; "" for the package's own.
        max_cost_usd: Ask nothing above this estimate; 0 sets no limit.
        catalog: The dated tables.
        work_dir: Where replies are kept.
        yes: Whether the user has agreed already.
        humans: A file with what people prefer; "" for none.
        decides: Whether the judge's verdict is the command's.
    """

    model: str
    project: str
    region: str
    prompt: str
    max_cost_usd: float
    catalog: Catalog
    work_dir: Path
    yes: bool
    humans: str = ""
    decides: bool = False

    def check(self, baseline: str) -> None:
        """Refuse what cannot be meant.

        Raises:
            UsageError: A judge without two models to judge, or a prompt without a judge.
        """
        if self.model and not baseline:
            raise UsageError(
                "a judge compares two models", where="--judge", fix="--baseline PREDICTIONS"
            )
        if (self.humans or self.decides) and not self.model:
            raise UsageError(
                "people's preferences are compared with a judge",
                where="--judge-humans, --judge-decides",
                fix="--judge MODEL",
            )
        if self.decides and not self.humans:
            raise UsageError(
                "a judge decides only if it is compared with people",
                where="--judge-decides",
                fix="--judge-humans FILE",
            )
        if self.prompt and not self.model:
            raise UsageError("a prompt needs a judge", where="--judge-prompt", fix="--judge MODEL")


def judged(
    tuned: Sequence[Prediction],
    base: Sequence[Prediction] | None,
    asked: JudgeOptions,
    *,
    out: Output,
) -> Judgement | None:
    """Compare two models by the judge; None without a judge.

    Args:
        tuned: The predictions that are scored.
        base: The baseline's.
        asked: Who judges.
        out: Where people read.

    Raises:
        UsageError: No project, no region, a broken prompt, or the user did not agree to the cost.
        LimitError: The estimate is above the limit.
        CloudError: The service refused every question.
    """
    if not (asked.model and base):
        return None
    from tunepipe.evaluation.judge import read_preferences
    from tunepipe.steps.judging import judge_on_vertex

    prompt = ""
    if asked.prompt:
        with local_copy(asked.prompt) as path:
            prompt = _text(path, asked.prompt)
    humans: dict[str, str] = {}
    if asked.humans:
        with local_copy(asked.humans) as path:
            humans = read_preferences(path)
    judgement = judge_on_vertex(
        tuned,
        base,
        model=asked.model,
        project=asked.project,
        region=asked.region,
        prompt=prompt,
        catalog=asked.catalog,
        max_cost_usd=asked.max_cost_usd,
        work_dir=str(asked.work_dir),
        humans=humans,
        agree=lambda bill: _agree(bill, asked, out),
    )
    if asked.decides:
        judgement.check_calibrated()
    return judgement


def _text(path: str, name: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UsageError("the prompt is not UTF-8", where=name, fix="save it as UTF-8") from None


def _agree(bill: Bill, asked: JudgeOptions, out: Output) -> None:
    if not bill.questions:
        return
    from tunepipe.steps.judging import location_of

    where = location_of(asked.model, asked.region, asked.catalog)
    cost = "at a cost that is not known"
    if bill.cost_usd is not None:
        cost = f"for about {bill.cost_usd:.2f} USD"
    kept = f"; {bill.kept:,} replies are kept from before" if bill.kept else ""
    said = f"{asked.model} in {where} is asked {bill.questions:,} questions {cost}{kept}"
    out.line(said, "bold")
    agree(f"Ask {bill.questions:,} questions {cost}?", asked.yes, out)


def show_judgement(found: Judgement, out: Output) -> None:
    """Print the judge's result."""
    from tunepipe.reporting.facts import Judge, fitting
    from tunepipe.reporting.sections import judge_view

    out.table((judge_view(fitting(found.as_json(), Judge)) or {})["pairs"], styles=("bold",))
