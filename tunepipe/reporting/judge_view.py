"""A judge's verdict as the report and the summary say it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunepipe.reporting import formatting as display
from tunepipe.reporting.formatting import finite, part

_NAMES = {
    "better": "the tuned model is better",
    "worse": "the tuned model is worse",
    "not-enough-evidence": "not enough evidence",
}


def judge_view(facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """Prepare what the judge said.

    Returns:
        None without a judge. `pairs` are labels and texts; `prompt` is the template it was asked
        with, and `refused` says why it gave no judgement; each may be empty.
    """
    judge = part(facts, "judge")
    if not judge:
        return None
    return {
        "pairs": [(label, text) for label, text in _pairs(judge) if text],
        "prompt": display.clean(str(judge.get("prompt") or "")),
        "refused": str(judge.get("refused") or ""),
    }


def judge_sentence(facts: Mapping[str, Any]) -> str:
    """Say the judge's verdict in one plain sentence; "" without a judge."""
    judge = part(facts, "judge")
    said = part(judge, "comparison")
    if not said:
        refused = judge.get("refused")
        return f"The judge gave no judgement: {refused}" if refused else ""
    wins, losses, ties = (display.count(said.get(name)) for name in ("wins", "losses", "ties"))
    return (
        f"Judged by {judge.get('model')}: {wins} wins, {losses} losses, {ties} ties against the "
        f"base model: {_verdict(said)}."
    )


def _pairs(judge: Mapping[str, Any]) -> list[tuple[str, str]]:
    said = part(judge, "comparison")
    cost = judge.get("estimated_cost_usd")
    return [
        ("Judge", str(judge.get("model") or "")),
        ("Verdict", _verdict(said)),
        ("Wins of the tuned model", _counted(said.get("wins"))),
        ("Losses", _counted(said.get("losses"))),
        ("Ties", _counted(said.get("ties"))),
        ("Exact test", display.p_value(said.get("p_value"))),
        ("Same answer in both orders", _agreement(judge)),
        ("Rows without a judgement", _counted(judge.get("unjudged"))),
        ("Cost estimated", "" if finite(cost) is None else display.money(cost)),
    ]


def _verdict(said: Mapping[str, Any]) -> str:
    verdict = str(said.get("verdict") or "")
    return _NAMES.get(verdict, verdict)


def _agreement(judge: Mapping[str, Any]) -> str:
    judged, disagreed = finite(judge.get("judged")), finite(judge.get("disagreements"))
    if not judged or disagreed is None:
        return ""
    agreed = judged - disagreed
    return f"{display.count(agreed)} of {display.count(judged)} rows asked"


def _counted(value: Any) -> str:
    return "" if finite(value) is None else display.count(value)
