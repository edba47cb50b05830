"""A model as judge, asked from the command line: it shows the cost first and asks for consent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tunepipe.catalog.catalog import Catalog
from tunepipe.cli import options
from tunepipe.cli.inputs import local_copy
from tunepipe.cli.output import Output, agree
from tunepipe.errors import UsageError, dollars, plural
from tunepipe.reporting.facts import Judge
from tunepipe.reporting.sections import judge_view
from tunepipe.stores import storage

if TYPE_CHECKING:
    from tunepipe.data.predictions import Prediction
    from tunepipe.evaluation.judge import Bill


@dataclass(frozen=True, kw_only=True)
class JudgeOptions:
    """Who judges, how, where and for how much.

    Options:
        judge (MODEL): A Gemini that compares the answers in both orders.
        judge_prompt (FILE): The judge's prompt, in place of the built-in one.
        judge_humans (FILE): What people prefer: lines of {"id", "preference": "tuned", "base" or
            "tie"}.
        judge_decides: The judge's verdict counts; it must agree with people.
        region (NAME): Where the judge may read the texts.
    """

    judge: str = ""
    judge_prompt: str = ""
    judge_humans: str = ""
    judge_decides: bool = False
    project: str = ""
    region: str = ""
    max_cost_usd: float | None = None
    tables: str = ""
    runs: Path = Path("runs")
    yes: options.Yes = False

    def check(self, baseline: str) -> None:
        """Refuse a judge without two models to judge, and a setting of the judge without one."""
        alone = self.judge_decides and not self.judge_humans
        people = self.judge_humans or self.judge_decides
        checks = (
            (self.judge and not baseline, "a judge compares two models", "--baseline PREDICTIONS"),
            (people and not self.judge, "people are compared with a judge", "--judge MODEL"),
            (self.judge_prompt and not self.judge, "a prompt needs a judge", "--judge MODEL"),
            (alone, "a judge decides only if it is compared with people", "--judge-humans FILE"),
        )
        for is_wrong, found, fix in checks:
            if is_wrong:
                raise UsageError(found, where="--judge", fix=fix)


def run_judge(
    tuned: Sequence[Prediction],
    base: Sequence[Prediction] | None,
    settings: JudgeOptions,
    missing: str,
    catalog: Catalog,
    out: Output,
) -> Judge | None:
    """Compare two models by the judge, and show its result; None without a judge."""
    if not (settings.judge and base):
        return None
    from tunepipe.evaluation.judge import check_calibrated, read_preferences
    from tunepipe.steps.judging import judge_on_vertex

    prompt, place = "", settings.judge_prompt
    try:
        prompt = storage.read_bytes(place).decode() if place else ""
    except UnicodeDecodeError:
        raise UsageError("the prompt is not UTF-8", where=place, fix="save it as UTF-8") from None
    humans: dict[str, str] = {}
    if settings.judge_humans:
        with local_copy(settings.judge_humans) as path:
            humans = read_preferences(path)
    judgement = judge_on_vertex(
        tuned,
        base,
        model=settings.judge,
        project=settings.project,
        region=settings.region,
        prompt=prompt,
        catalog=catalog,
        max_cost_usd=options.positive(settings.max_cost_usd, "--max-cost-usd"),
        work_dir=str(settings.runs / "work"),
        humans=humans,
        missing=missing,
        agree=lambda bill: _agree(bill, settings, catalog, out),
    )
    if settings.judge_decides:
        check_calibrated(judgement)
    out.facts((judge_view(judgement) or {})["pairs"])
    return judgement


def _agree(bill: Bill, settings: JudgeOptions, catalog: Catalog, out: Output) -> None:
    if not bill.questions:
        return
    from tunepipe.steps.judging import location_of

    where = location_of(settings.judge, settings.region, catalog)
    cost = "at a cost that is not known"
    if bill.cost_usd is not None:
        cost = f"for about {dollars(bill.cost_usd)}"
    earlier = f"; {bill.kept:,} of the replies are kept from before" if bill.kept else ""
    questions = f"{plural(bill.questions, 'question')} {cost}"
    out.line(f"{settings.judge} in {where} is asked {questions}{earlier}", "bold")
    agree(f"Ask {questions}?", settings.yes, out)
