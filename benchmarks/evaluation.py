"""How often the verdicts are wrong: nominal next to observed, by exact sums and simulation.

    python benchmarks/evaluation.py --repeats 1000

Prints the tables of docs/evaluation.md. The tests hold a quick form of the same.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator

import numpy as np
from scipy.special import gammaln
from scipy.stats import binom, nct, norm, t

from tunepipe.evaluation.classification_metrics import measure
from tunepipe.evaluation.comparison import compare, compare_metrics
from tunepipe.evaluation.intervals import Sample, quantile, resampled_sums
from tunepipe.evaluation.metric import Clusters
from tunepipe.evaluation.score import holm
from tunepipe.evaluation.significance import confidence_of_look, mcnemar, smallest_difference
from tunepipe.reporting.facts import BETTER, UNDECIDED, WORSE, Slice

Row = tuple[str, str, str]


def differences(values: np.ndarray) -> Sample:
    """The sample of the differences of two models' scores."""
    return Sample.of(values, np.ones(len(values)), -1.0, 1.0)


def shows_gain(values: np.ndarray) -> bool:
    """Whether a comparison would call the model with these gains better."""
    return bool(values.mean() > 0 and differences(values).p_value() <= 0.05)


def share(draw: Callable[[], bool], repeats: int) -> float:
    return sum(bool(draw()) for _ in range(repeats)) / repeats


def right_wrong(rng: np.random.Generator, rows: int, right: float, alike: float) -> np.ndarray:
    """Two equally good models, of whose results a share is the same by nature."""
    both = rng.random((2, rows)) < right
    both[1] = np.where(rng.random(rows) < alike, both[0], both[1])
    return both.astype(float)


def error_at_zero(rows: int, differing: float) -> float:
    """How often equal models are distinguished by right/wrong results, by exact sums."""
    total = 0.0
    for count in range(1, rows + 1):
        wins = np.arange(count + 1)
        far = np.abs(2 * wins - count) > quantile(rows, 0.95) * math.sqrt(count)
        shown = [
            bool(f) and mcnemar(int(w), count - int(w)) <= 0.05
            for w, f in zip(wins, far, strict=True)
        ]
        total += binom.pmf(count, rows, differing) * binom.pmf(wins[shown], count, 0.5).sum()
    return total


def verdict_rows(rng: np.random.Generator, repeats: int) -> Iterator[Row]:
    """Equal models: how often they are called better or worse."""
    for rows in (6, 10, 30, 100, 300, 1000):
        worst = max(error_at_zero(rows, differing) for differing in np.linspace(0.02, 0.5, 25))
        name = f"equal models, right/wrong, {rows} rows, the worst of 25 shares of differing rows"
        yield name, "0.05", f"{worst:.4f}"
    kinds = {
        "scores spread evenly": lambda n: rng.beta(2, 2, (2, n)),
        "scores of three values": lambda n: rng.choice([0, 0.5, 1], (2, n)),
        "scores mostly perfect": lambda n: np.where(
            rng.random((2, n)) < 0.8, 1.0, rng.random((2, n))
        ),
    }
    for name, draw in kinds.items():
        for rows in (20, 200):
            found = share(
                lambda d=draw, r=rows: compare(*d(r).tolist(), metric="m").verdict != UNDECIDED,
                repeats,
            )
            yield f"equal models, {name}, {rows} rows", "0.05", f"{found:.3f}"
    for rows in (10, 50, 200):
        found = share(
            lambda r=rows: shows_gain(np.where(rng.random(r) < 0.1, -0.45, 0.05)), repeats
        )
        yield f"nine rows gain 0.05, the tenth loses 0.45, {rows} rows", "0.025", f"{found:.3f}"


def at_the_margin(rows: int, margin: float, wins: float) -> float:
    """How often a true loss of exactly the margin is ruled out, by exact sums."""
    won, lost = (
        table[np.add.outer(np.arange(rows + 1), np.arange(rows + 1)) <= rows].astype(float)
        for table in np.meshgrid(np.arange(rows + 1), np.arange(rows + 1), indexing="ij")
    )
    linear = -won - lost - (2 * rows - won + lost) * margin
    root = np.sqrt(linear**2 + 8 * rows * lost * -margin * (1 + margin))
    variance = rows * (2 * (root - linear) / (4 * rows) - margin * (1 + margin))
    with np.errstate(invalid="ignore", divide="ignore"):
        ruled_out = np.nan_to_num((won - lost + rows * margin) / np.sqrt(variance)) > quantile(
            rows, 0.95
        )
    won, lost = won[ruled_out], lost[ruled_out]
    same = rows - won - lost
    chances = gammaln(rows + 1) - gammaln(won + 1) - gammaln(lost + 1) - gammaln(same + 1)
    for count, chance in ((won, wins), (lost, wins + margin), (same, 1 - 2 * wins - margin)):
        with np.errstate(invalid="ignore", divide="ignore"):
            chances = chances + np.where(count > 0, count * np.log(chance), 0.0)
    return float(np.exp(chances).sum())


def margin_rows(rng: np.random.Generator, repeats: int) -> Iterator[Row]:
    """A true loss of exactly the margin: how often a larger loss is ruled out."""
    shares = (0.0, *np.geomspace(0.002, 0.4, 20))
    margins = (0.005, 0.01, 0.02, 0.0325, 0.05, 0.1, 0.2)
    for rows in (10, 30, 60, 100, 250, 500):
        worst = max(
            at_the_margin(rows, margin, wins)
            for margin in margins
            for wins in shares
            if 2 * wins + margin <= 1
        )
        yield f"right/wrong, {rows} rows, the worst of 147 settings", "0.025", f"{worst:.4f}"
    for chance, rows in ((0.01, 50), (0.01, 200), (0.02, 50), (0.02, 200), (0.05, 200)):

        def passes(q: float = chance, n: int = rows) -> bool:
            values = rng.normal(0, 0.03, n)
            values[rng.random(n) < q] = -1
            return differences(np.clip(values, -1, 1)).low(0.95) > -q

        found = share(passes, repeats)
        yield f"{100 * chance:.0f} % of the rows fail totally, {rows} rows", "0.025", f"{found:.3f}"


def collapse_rows(rng: np.random.Generator, repeats: int) -> Iterator[Row]:
    """Gains that rare total failures undo exactly: how often they are taken for a gain."""
    for rows in (10, 20, 40, 100, 200):
        for spread in (0.001, 0.03, 0.2):
            worst = 0.0
            # This many failures are expected; the rows' gain makes up for them.
            for failures in (1.0, 2.5, 3.3, 3.6, 3.9, 5.0, 8.0):
                chance = min(failures / rows, 0.4)

                def gains(q: float = chance, n: int = rows, sd: float = spread) -> bool:
                    values = rng.normal(q / (1 - q), sd, n)
                    values[rng.random(n) < q] = -1
                    return shows_gain(np.clip(values, -1, 1))

                worst = max(worst, share(gains, repeats))
            name = f"{rows} rows, scores that vary by {spread}, the worst of 7 shares of failures"
            yield name, "0.025", f"{worst:.3f}"


def group_rows(rng: np.random.Generator, repeats: int) -> Iterator[Row]:
    """Equal models on rows that belong together."""
    for rows, size in ((200, 2), (200, 4), (200, 10), (40, 10)):
        names = [str(number // size) for number in range(rows)]

        def differs(n: int = rows, each: int = size, groups: list[str] = names) -> bool:
            shift = np.repeat(rng.normal(0, 0.35, n // each), each)
            models = [
                (rng.random(n) < np.clip(0.6 + sign * shift, 0, 1)).astype(float)
                for sign in (1, -1)
            ]
            return compare(*map(np.ndarray.tolist, models), metric="m", groups=groups).verdict in (
                BETTER,
                WORSE,
            )

        yield f"{rows} rows in groups of {size}", "0.05", f"{share(differs, repeats):.3f}"
    for copies in (2, 5):
        names = [str(number) for number in range(100)] * copies

        def copied(times: int = copies, groups: list[str] = names) -> bool:
            models = right_wrong(rng, 100, 0.6, 0.5)
            lists = [each.tolist() * times for each in models]
            return compare(*lists, metric="m", groups=groups).verdict != UNDECIDED

        yield f"100 rows, {copies} times each", "0.05", f"{share(copied, repeats):.3f}"


def slice_rows(rng: np.random.Generator, repeats: int) -> Iterator[Row]:
    """Equal models: how often any of several slices is called better or worse."""
    for rows, slices in ((200, 4), (400, 20), (2000, 20)):

        def any_differs(n: int = rows, parts: int = slices) -> bool:
            models = right_wrong(rng, n, 0.7, 0.3)
            compared = [
                compare(*models[:, part::parts].tolist(), metric="m") for part in range(parts)
            ]
            found = holm([Slice(comparison=one, p_adjusted=one.p_value) for one in compared])
            return any(each.verdict != UNDECIDED for each in found)

        found = share(any_differs, repeats)
        yield f"any of {slices} slices of {rows} rows", "0.05", f"{found:.3f}"


def macro_f1_rows(rng: np.random.Generator, repeats: int) -> Iterator[Row]:
    """Macro-F1: equal models, and the coverage of its interval."""
    for name, chances, rows in (
        ("3 classes, 60 rows", [0.6, 0.3, 0.1], 60),
        ("1 large and 9 rare classes, 200 rows", [0.91] + [0.01] * 9, 200),
    ):
        labels = np.array([f"label {number}" for number in range(len(chances))])

        def draw(n: int) -> tuple[np.ndarray, list[np.ndarray]]:
            wanted = np.concatenate(
                [np.arange(len(chances)), rng.choice(len(chances), n - len(chances), p=chances)]
            )
            guesses = [rng.choice(len(chances), n) for _ in range(2)]
            return wanted, [np.where(rng.random(n) < 0.8, wanted, guess) for guess in guesses]

        def metrics(n: int) -> list:
            wanted, answers = draw(n)
            return [measure(list(labels[each]), list(labels[wanted]))[1] for each in answers]

        count = max(40, repeats // 5)
        alone = Clusters.of([""] * rows)
        errors = held = 0
        truth = float(np.mean([metrics(4_000)[0].value for _ in range(40)]))
        for seed in range(count):
            pair = metrics(rows)
            errors += compare_metrics(*pair, alone, seed=seed).verdict != UNDECIDED
            sums = resampled_sums(pair[0].statistics, seed=seed)
            estimate = pair[0].estimate(alone, sums, seed)
            held += estimate.low <= truth <= estimate.high
        yield f"macro-F1, {name}: equal models", "0.05", f"{errors / count:.3f}"
        yield f"macro-F1, {name}: the interval holds the truth", "0.95", f"{held / count:.3f}"


def look_rows(rng: np.random.Generator, repeats: int) -> Iterator[Row]:
    """Fifty weekly models, all equally good, on the same held-out rows."""
    worlds = max(50, repeats // 5)
    for rows in (200, 1000):
        plain = spent = 0
        for _ in range(worlds):
            row_ease = np.clip(rng.normal(0.8, 0.25, rows), 0, 1)
            champion = {name: rng.random(rows) < row_ease for name in ("plain", "spent")}
            promoted = {"plain": 0, "spent": 0}
            for week in range(1, 51):
                model = rng.random(rows) < row_ease
                for name, confidence in (("plain", 0.95), ("spent", confidence_of_look(week))):
                    gains = model.astype(float) - champion[name]
                    if differences(gains).low(confidence) > 0:
                        champion[name], promoted[name] = model, promoted[name] + 1
            plain += promoted["plain"] > 0
            spent += promoted["spent"] > 0
        yield (
            f"any false promotion in 50 weeks, {rows} rows, without spending",
            "",
            f"{plain / worlds:.3f}",
        )
        yield (
            f"any false promotion in 50 weeks, {rows} rows, as the registry counts",
            "0.05",
            f"{spent / worlds:.3f}",
        )
    yield from _margin_over_weeks(rng, worlds)


def _margin_over_weeks(rng: np.random.Generator, worlds: int) -> Iterator[Row]:
    """Models that get 0.3 points worse a week, with a margin of 5 points and fresh rows."""
    for name, against_first in (("the champion alone", False), ("the first champion too", True)):
        truths = []
        for _ in range(worlds):
            first = champion = 0.80
            for week in range(1, 51):
                right = 0.80 - 0.003 * week
                rows = 1000

                def holds(other: float, mine: float = right, n: int = rows) -> bool:
                    gains = (rng.random(n) < mine).astype(float) - (rng.random(n) < other)
                    return differences(gains).low(0.95) > -0.05

                if holds(champion) and (not against_first or holds(first)):
                    champion = right
            truths.append(champion)
        yield (
            f"a margin of 5 points, models that decline: mean loss, against {name}",
            "0.05" if against_first else "",
            f"{0.80 - float(np.mean(truths)):.3f}",
        )


def power_rows(rng: np.random.Generator, repeats: int) -> Iterator[Row]:
    """What the honest interval costs: how often a true difference is found."""
    for rows, mean, spread in (
        (20, 0.15, 0.2),
        (40, 0.1, 0.2),
        (40, 0.15, 0.2),
        (100, 0.06, 0.2),
        (200, 0.05, 0.2),
        (500, 0.03, 0.2),
    ):
        found = share(
            lambda n=rows, m=mean, s=spread: shows_gain(np.clip(rng.normal(m, s, n), -1, 1)),
            repeats,
        )
        bound = t.ppf(0.975, rows - 1)
        peer = 1 - nct.cdf(bound, rows - 1, mean / spread * math.sqrt(rows))
        yield f"scores, {rows} rows, a gain of {mean} (t-test)", f"{peer:.3f}", f"{found:.3f}"
    for rows, wins, losses in ((30, 0.35, 0.05), (60, 0.3, 0.08), (200, 0.12, 0.04)):
        exact = 0.0
        for differing in range(rows + 1):
            least = binom.isf(0.025, differing, 0.5) + 1
            exact += binom.pmf(differing, rows, wins + losses) * binom.sf(
                least - 1, differing, wins / (wins + losses)
            )

        def finds(n: int = rows, w: float = wins, x: float = losses) -> bool:
            won, lost, same = rng.multinomial(n, [w, x, 1 - w - x])
            sample = differences(np.repeat([1.0, -1.0, 0.0], [won, lost, same]))
            return sample.low(0.95) > 0 and mcnemar(int(won), int(lost)) < 0.05

        name = f"right/wrong, {rows} rows, {wins:.0%} won, {losses:.0%} lost (exact McNemar)"
        yield name, f"{exact:.3f}", f"{share(finds, repeats):.3f}"
    for rows, differing in ((100, 0.2), (500, 0.2)):
        size = smallest_difference(math.sqrt(differing), rows)
        won = (differing + size) / 2

        def shown(n: int = rows, w: float = won, d: float = differing) -> bool:
            counts = rng.multinomial(n, [w, d - w, 1 - d])
            return differences(np.repeat([1.0, -1.0, 0.0], counts)).low(0.95) > 0

        name = f"the smallest difference of {rows} rows ({100 * size:.1f} points) is shown"
        yield name, "0.80", f"{share(shown, repeats):.3f}"


def seed_rows(rng: np.random.Generator, repeats: int) -> Iterator[Row]:
    """Verdicts near the threshold: how often one of seven seeds says something else."""
    cases = changed = 0
    expected = 0.0
    while cases < max(20, repeats // 20):
        wanted = rng.choice(list("aaaabbc"), 80)
        models = [
            np.where(rng.random(80) < right, wanted, rng.choice(list("abc"), 80))
            for right in (0.8, 0.62)
        ]
        pair = [measure(list(model), list(wanted))[1] for model in models]
        alone = Clusters.of([""] * 80)
        first = compare_metrics(*pair, alone, seed=0)
        if not 0.03 <= first.p_value <= 0.07:
            continue
        found = [first, *(compare_metrics(*pair, alone, seed=seed) for seed in range(1, 7))]
        cases += 1
        changed += len({one.verdict for one in found}) > 1
        # Seven p-values around their mean: the chance that they are on both sides. What decides is
        # the larger of two, mostly the interval's, which counts one tail of 10,000 resamples.
        p_value = float(np.mean([one.p_value for one in found]))
        error = 2 * math.sqrt(p_value / 2 * (1 - p_value / 2) / 10_000)
        below = norm.cdf((0.05 - p_value) / error)
        expected += 1 - below**7 - (1 - below) ** 7
    name = f"macro-F1, {cases} cases with p from 0.03 to 0.07: changed by one of 7 seeds"
    yield name, f"{expected / cases:.3f}", f"{changed / cases:.3f}"


PARTS = {
    "Verdicts": verdict_rows,
    "Margins": margin_rows,
    "Rare failures": collapse_rows,
    "Groups and repeats": group_rows,
    "Slices": slice_rows,
    "Macro-F1": macro_f1_rows,
    "Looking again": look_rows,
    "Power": power_rows,
    "Seeds": seed_rows,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=20261126)
    parser.add_argument("--only", nargs="*", default=list(PARTS), choices=PARTS)
    arguments = parser.parse_args()
    for name in arguments.only:
        start = time.perf_counter()
        rng = np.random.default_rng(arguments.seed)
        head = "peer" if name == "Power" else "nominal"
        print(f"\n**{name}**\n\n| what | {head} | observed |\n| --- | --- | --- |", flush=True)
        for what, nominal, observed in PARTS[name](rng, arguments.repeats):
            print(f"| {what} | {nominal} | {observed} |", flush=True)
        print(f"\n({time.perf_counter() - start:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
