"""Whole plans, word for word: every number, warning and line of the arithmetic.

python -m tests.planning.test_whole_plans    # writes plans.json anew; read its diff
"""

import json
from dataclasses import asdict
from datetime import date
from pathlib import Path

import pytest

from tunepipe.planning.plan import HeldOut, plan

GOLDEN = Path(__file__).with_name("plans.json")
PALM, GEMINI, QWEN = "text-bison@001", "gemini-3.5-flash", "qwen/qwen3@qwen3-4b"
LLAMA, GEMMA = "meta/llama3_1@llama-3.1-8b", "google/gemma4@gemma-4-26b-a4b-it"
US, HERE = {"region": "us-central1"}, {"region": "", "backend": "local"}
CASES = {
    "palm": {"rows": 240, **US},
    "palm, a price that is not known": {"rows": 240, "region": "europe-west4"},
    "palm, few rows": {"rows": 99, **US},
    "palm, rows enough": {"rows": 100, **US},
    "palm, more steps than advised": {"rows": 240, **US, "train_steps": 1001},
    "palm, another learning rate": {"rows": 240, **US, "learning_rate_multiplier": 2.0},
    "palm, refused meanwhile": {"rows": 240, **US, "today": date(2024, 10, 9)},
    "palm, shut down": {"rows": 240, **US, "today": date(2025, 4, 9)},
    "gemini, rounded": {"rows": 240, **US, "model": GEMINI, "tokens": 25_000, "train_steps": 100},
    "gemini, before it may be tuned": {
        "rows": 240, **US, "model": GEMINI, "today": date(2026, 5, 18)
    },
    "gemini, after its day": {"rows": 240, **US, "model": GEMINI, "today": date(2027, 5, 19)},
    "open model, packed": {"rows": 903, **US, "model": GEMMA, "epochs": 3, "tokens": 126_500},
    "open model, tokens unknown": {"rows": 903, **US, "model": GEMMA, "epochs": 3},
    "open model, tokens by characters": {
        "rows": 240, **US, "model": LLAMA, "epochs": 1, "tokens_estimated": 10_000_000
    },
    "open model, global": {
        "rows": 240, **US, "model": QWEN, "tokens": 10**8, "options": {"location": "global"}
    },
    "local, tiny": {"rows": 600, **HERE},
    "custom": {"rows": 600, **US, "backend": "custom", "model": "Qwen/Qwen3-0.6B"},
    "custom, adapter on spot machines": {
        "rows": 600, **US, "backend": "custom", "model": "Qwen/Qwen3-4B", "tokens": 10**7,
        "epochs": 3, "options": {"accelerator": "L4:4", "machines": 2, "provisioning": "spot"},
    },
    "custom, full tuning": {
        "rows": 600, **US, "backend": "custom", "model": "Qwen/Qwen3-4B", "tokens": 10**7,
        "options": {"tuning_mode": "full", "batch_size": 4, "usd_per_hour": 1.23457},
    },
    "custom, size and hours as set": {
        "rows": 600, **US, "backend": "custom", "model": "gs://bucket/base", "hours": 2.5,
        "options": {"parameters_billion": 7.0},
    },
    "custom, size unknown": {
        "rows": 600, **US, "backend": "custom", "model": "gs://bucket/base", "tokens": 10**7
    },
    "custom, price unknown": {
        "rows": 600, "region": "me-west1", "backend": "custom", "model": "Qwen/Qwen3-4B",
        "tokens": 10**7, "options": {"parameters_billion": 8.0},
    },
    "checkpoints asked": {
        "rows": 3600, **US, "model": GEMINI, "tokens": 10**9 + 7, "epochs": 12,
        "options": {"select_checkpoint": True},
    },
    "held-out rows": {
        "rows": 240, **US, "model": GEMINI, "tokens": 25_000,
        "held_out": HeldOut(60, "exact_match", "it is", 3, tokens_read=90.0, tokens_written=12.5),
    },
    "one held-out row, no price": {
        "rows": 240, **US, "model": QWEN, "tokens": 25_000, "max_cost_usd": 9,
        "held_out": HeldOut(1),
    },
    "held-out rows enough": {"rows": 600, **HERE, "held_out": HeldOut(250)},
    "no held-out row": {"rows": 600, **HERE, "held_out": HeldOut(0)},
}  # fmt: skip


def described(case: str) -> dict[str, object]:
    arguments = dict(CASES[case])
    held_out = arguments.pop("held_out", None)
    planned = plan(**arguments)
    if held_out:
        planned = planned.with_held_out(held_out, None, arguments.get("max_cost_usd", 0))
    found = asdict(planned)
    found["smallest_difference"] = round(found["smallest_difference"] or 0.0, 9)
    del found["tables_version"]  # a hash of every fact
    return dict(json.loads(json.dumps(found)))


@pytest.mark.parametrize("case", CASES)
def test_a_plan_says_this_and_nothing_else(case: str) -> None:
    assert described(case) == json.loads(GOLDEN.read_text(encoding="utf-8"))[case]


if __name__ == "__main__":
    plans = {case: described(case) for case in CASES}
    GOLDEN.write_text(json.dumps(plans, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
