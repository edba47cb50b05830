"""tunepipe's metrics compared with their peers, on the same seeded predictions of two models.

    python benchmarks/score.py --rows 10000 --repeats 3

Whole processes are measured, ours and a peer's in turn, so that a busy machine hits both alike; the
ratio is taken of CPU seconds. A peer that is not installed, or cannot work offline, is left out
with the reason. Ours does everything each time: all text metrics of the tuned model and of the
baseline, an interval for each, and the verdict.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SEED = 20261122
ENGLISH = (
    "please answer the customer in two sentences and keep order number as it stands parcel left "
    "our store on Monday and should arrive before the end of this week which items can be returned "
    "without a receipt, until when? No. 1,200 is paid."
)
JAPANESE = (
    "ご注文の商品は明日の午前中にお届けします。返品の手続きはお受け取りから八日以内にお願いいたします。"
    "担当の者が確認して、折り返しご連絡差し上げます。2026年11月22日"
)

READ = """
import json, sys
def read(path):
    rows = [json.loads(line) for line in open(path, encoding="utf-8")]
    return [row["prediction"] for row in rows], [row["reference"] for row in rows]
models = [read(path) for path in sys.argv[1:]]
"""
PROGRAMS = {
    "tunepipe score": """
import sys
from tunepipe.data.predictions import read
from tunepipe.evaluation.score import evaluate
evaluate(*map(read, sys.argv[1:])).as_json()
""",
    "rouge-score: ROUGE-1/2/L, values only": READ
    + """
from rouge_score.rouge_scorer import RougeScorer
scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
for ours, wanted in models:
    [scorer.score(reference, text) for text, reference in zip(ours, wanted)]
""",
    "rouge-score with its intervals (1,000 resamples)": READ
    + """
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.scoring import BootstrapAggregator
scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
for ours, wanted in models:
    aggregator = BootstrapAggregator()
    for text, reference in zip(ours, wanted):
        aggregator.add_scores(scorer.score(reference, text))
    aggregator.aggregate()
""",
    "sacrebleu: BLEU and chrF, values only": READ
    + """
from sacrebleu.metrics import BLEU, CHRF
for ours, wanted in models:
    BLEU().corpus_score(ours, [wanted]), CHRF().corpus_score(ours, [wanted])
""",
    "sacrebleu paired bootstrap (1,000 resamples)": READ
    + """
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import PairedTest
(tuned, wanted), (base, _) = models
PairedTest([("base", base), ("tuned", tuned)], {"BLEU": BLEU(), "chrF": CHRF()}, [wanted],
           test_type="bs", n_samples=1000)()
""",
    "evaluate: rouge": READ
    + """
import evaluate
metric = evaluate.load("rouge")
for ours, wanted in models:
    metric.compute(predictions=ours, references=wanted)
""",
}
OURS = "tunepipe score"


def text(chance: random.Random) -> str:
    """Write one answer, of 126 characters on average, half of them in Japanese."""
    size = chance.randint(32, 220)
    if chance.random() < 0.5:
        start = chance.randrange(len(JAPANESE))
        return (JAPANESE[start:] + JAPANESE * 4)[:size]
    words = " ".join(chance.choices(ENGLISH.split(), k=size // 4))
    return words[:size]


def worn(chance: random.Random, wanted: str, share: float) -> str:
    """Replace a share of the characters by others of the same text."""
    return "".join(chance.choice(wanted) if chance.random() < share else c for c in wanted)


def write_models(folder: Path, rows: int) -> list[Path]:
    """Write the predictions of a model that errs a little and of one that errs more."""
    chance = random.Random(SEED)
    wanted = [text(chance) for _ in range(rows)]
    paths = [folder / "tuned.jsonl", folder / "base.jsonl"]
    for path, share in zip(paths, (0.05, 0.06), strict=True):
        with path.open("w", encoding="utf-8") as file:
            for number, reference in enumerate(wanted):
                row = {"id": str(number), "input": "", "reference": reference}
                row["prediction"] = worn(chance, reference, share)
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return paths


def measured(program: str, paths: list[Path]) -> tuple[float, float, str]:
    """Run one program; give CPU and wall seconds, and why it failed if it did."""
    before, start = os.times(), time.perf_counter()
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, paths)],
        capture_output=True,
        text=True,
        env=offline,
        check=False,
    )
    wall, after = time.perf_counter() - start, os.times()
    cpu = after.children_user + after.children_system
    cpu -= before.children_user + before.children_system
    lines = done.stderr.strip().splitlines()
    return cpu, wall, "" if done.returncode == 0 else lines[-1] if lines else "no message"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = write_models(Path(folder), arguments.rows)
        print(f"{arguments.rows:,} rows, two models, {arguments.repeats} repeats, medians\n")
        print("| what | CPU s | wall s | ours, CPU s in turn | times ours (CPU) |")
        print("|---|---|---|---|---|")
        for name, program in PROGRAMS.items():
            pairs = []
            for _ in range(arguments.repeats):
                theirs = measured(program, paths)
                if theirs[2]:
                    print(f"| {name} | | | | not run: {theirs[2][:150]} |")
                    break
                pairs.append((theirs, measured(PROGRAMS[OURS], paths)))
            else:
                cpu, wall, ours, ratio = (
                    statistics.median(values)
                    for values in zip(
                        *((a[0], a[1], b[0], a[0] / b[0]) for a, b in pairs), strict=True
                    )
                )
                print(f"| {name} | {cpu:.1f} | {wall:.1f} | {ours:.1f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
