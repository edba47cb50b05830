"""tunepipe's validator compared with its peers, on the same seeded files.

    python benchmarks/validate.py --megabytes 50 --repeats 3

Each peer gets an environment of its own under a temporary folder (kept for the next run) and is
skipped, with the reason, where it cannot be installed. Whole processes are measured, ours and the
peer's in turn, so that a busy machine hits both alike; the ratio is taken of CPU seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import runpy
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from peers import PEERS, Peer

TESTS = Path(__file__).parents[1] / "tests"
OURS = "tunepipe"
SEED = 20261122
FORMAT = "prompt-completion"

# Kinds that only a tool could see which knows our formats, limits and what a secret is.
NOT_COMPARED = ("other_format", "secret", "overlong_line")

DRIVER = """
import json as report, sys
{program}
for path in sys.argv[1:]:
    try:
        said = {{"lines": check(path), "error": None}}
    except BaseException as error:
        said = {{"lines": [], "error": type(error).__name__ + ": " + str(error)[:2000]}}
    print(report.dumps(said), flush=True)
"""

ENGLISH = (
    "Please answer the customer in two sentences and keep the order number as it stands. ",
    "The parcel left our store on Monday and should arrive before the end of the week. ",
    "Which of these items can be returned without a receipt, and until when? ",
)
JAPANESE = (
    "ご注文の商品は明日の午前中にお届けします。",
    "返品の手続きは、お受け取りから八日以内にお願いいたします。",
    "担当の者が確認して、折り返しご連絡差し上げます。",
)


@dataclass(frozen=True)
class Cost:
    """What a process took."""

    wall_seconds: float
    cpu_seconds: float
    peak_mib: float
    output: str


def text(chance: random.Random, size: int) -> str:
    """Write about N bytes of one language."""
    pool = chance.choice((ENGLISH, JAPANESE))
    words = f"{chance.getrandbits(40):x} "
    while len(words.encode()) < size:
        words += chance.choice(pool)
    return words.encode()[:size].decode(errors="ignore").strip()


def rows(chance: random.Random, row_bytes: int) -> Iterator[bytes]:
    """Write valid rows without end, no two alike."""
    room = row_bytes - len('{"prompt": "", "completion": ""}\n')
    while True:
        given = text(chance, room * 3 // 5)
        wanted = text(chance, room - room * 3 // 5)
        row = {"prompt": given, "completion": wanted}
        yield json.dumps(row, ensure_ascii=False).encode() + b"\n"


def broken(chance: random.Random, line: bytes) -> bytes:
    """Break a line in one of the ways that every parser or schema can see."""
    row = json.loads(line)
    ways = (
        lambda: line[: len(line) // 2] + b"\n",
        lambda: json.dumps({"prompt": row["prompt"]}).encode() + b"\n",
        lambda: json.dumps(row | {"completion": 7}).encode() + b"\n",
        lambda: json.dumps(row | {"completion": ""}).encode() + b"\n",
        lambda: json.dumps(row | {"completion": None}).encode() + b"\n",
        lambda: line[:-3] + b'\xff"}\n',
        lambda: line[:-1] + b" and more\n",
        lambda: line.replace(b'"prompt"', b"'prompt'"),
    )
    return chance.choice(ways)()


def write_file(path: Path, megabytes: float, row_bytes: int, share: float) -> list[int]:
    """Write a file of N megabytes.

    Returns:
        The numbers of its broken lines.
    """
    chance = random.Random(SEED)
    size, bad = 0, []
    with open(path, "wb") as file:
        for number, line in enumerate(rows(chance, row_bytes), 1):
            if chance.random() < share:
                line = broken(chance, line)
                bad.append(number)
            file.write(line)
            size += len(line)
            if size >= megabytes * 1e6:
                return bad
    raise AssertionError("unreachable")


def measure(command: Sequence[str], environment: Mapping[str, str]) -> Cost:
    """Run a process to its end and read what it took from the operating system."""
    with tempfile.TemporaryFile() as output:
        begun = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.DEVNULL, env=dict(environment)
        )
        _, _, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begun
        output.seek(0)
        said = output.read().decode(errors="replace")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, said)


def python_of(peer: Peer, folder: Path) -> str:
    """Make the peer's environment, or take it as it stands.

    Raises:
        RuntimeError: It cannot be installed; the message says why.
    """
    if not peer.packages:
        return sys.executable
    home = folder / re.sub(r"\W+", "-", peer.name)
    python = home / "bin" / "python"
    if not (home / "complete").exists():
        uv = shutil.which("uv")
        make = [uv, "venv", "--clear"] if uv else [sys.executable, "-m", "venv", "--clear"]
        fill = [uv, "pip", "install", "--python"] if uv else [str(python), "-m", "pip", "install"]
        where = ["--python", sys.executable] if uv else []
        subprocess.run([*make, *where, str(home)], check=True, capture_output=True)
        command = [*fill, *([str(python)] if uv else []), "--quiet", *peer.packages]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["the installer failed"])[-1]
            raise RuntimeError(reason)
        (home / "complete").touch()
    return str(python)


def environment_of(folder: Path) -> dict[str, str]:
    """Give peers a home of their own and keep them off the network."""
    keep = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return keep | {"HOME": str(folder), "HF_HUB_OFFLINE": "1", "GX_ANALYTICS_ENABLED": "false"}


def ours(path: Path, workers: int = 1) -> list[str]:
    """The whole command, as a user gives it; one worker, like the peers."""
    program = (
        "import json, sys; from tunepipe.validation.validate import validate\n"
        f"found = validate(sys.argv[1:], max_problems=10**6, workers={workers})\n"
        "print(json.dumps({'lines': [p.line for p in found.problems], 'error': None}))"
    )
    return [sys.executable, "-c", program, str(path)]


def theirs(peer: Peer, python: str, paths: Iterable[Path]) -> list[str]:
    """The peer's program on files, one after the other."""
    return [python, "-c", DRIVER.format(program=peer.program), *map(str, paths)]


def in_turn(
    commands: Mapping[str, list[str]], environment: Mapping[str, str], repeats: int
) -> dict[str, list[Cost]]:
    """Run the commands in turn, so often."""
    runs: dict[str, list[Cost]] = {name: [] for name in commands}
    for _ in range(repeats):
        for name, command in commands.items():
            runs[name].append(measure(command, environment))
    return runs


def median(runs: Sequence[Cost]) -> Cost:
    """Take the run in the middle by CPU seconds."""
    middle = statistics.median_low(cost.cpu_seconds for cost in runs)
    return next(cost for cost in runs if cost.cpu_seconds == middle)


def said_of(cost: Cost) -> tuple[set[int], str]:
    """Read what a run reported: lines, and the error it died of, if any."""
    for line in reversed(cost.output.splitlines()):
        if line.startswith("{"):
            said = json.loads(line)
            return set(said["lines"] or ()), said["error"] or ""
    return set(), "died"


def found_words(cost: Cost, planted: Sequence[int]) -> str:
    """Say how many of the planted lines a run named, and how many others."""
    lines, error = said_of(cost)
    right, wrong = len(lines & set(planted)), len(lines - set(planted))
    if error and not lines:
        return f"stops: {error.split(':')[0]}"
    named = [f"{right:,} of {len(planted):,}"] if planted else []
    named += [f"{wrong:,} false"] if wrong else []
    return ", ".join(named) or "clean"


def speed_table(
    path: Path, planted: Sequence[int], peers: Mapping[Peer, str], repeats: int, folder: Path
) -> list[str]:
    """Measure every tool on one file, as the lines of a table."""
    megabytes = path.stat().st_size / 1e6
    commands = {OURS: ours(path)}
    commands |= {peer.name: theirs(peer, python, [path]) for peer, python in peers.items()}
    runs = in_turn(commands, environment_of(folder), repeats)
    costs = {name: median(found) for name, found in runs.items()}
    base = costs[OURS]
    lines = [
        "| tool | wall s | CPU s | MB/s of CPU | peak MiB | CPU, times ours | broken lines named |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, cost in sorted(costs.items(), key=lambda item: item[1].cpu_seconds):
        ratio = cost.cpu_seconds / base.cpu_seconds
        shown = f"**{name}**" if name == OURS else name
        lines.append(
            f"| {shown} | {cost.wall_seconds:.2f} | {cost.cpu_seconds:.2f} "
            f"| {megabytes / cost.cpu_seconds:.0f} | {cost.peak_mib:.0f} | {ratio:.1f} "
            f"| {found_words(cost, planted)} |"
        )
    return lines


def workers_table(path: Path, repeats: int, folder: Path) -> list[str]:
    """Measure json.loads alone, one worker and two, as the lines of a table.

    Of the runs the quickest is shown: the one that had most of both cores.
    """
    loop = "import json, sys\nfor line in open(sys.argv[1], 'rb'): json.loads(line)"
    commands = {"json.loads of every line, no more": [sys.executable, "-c", loop, str(path)]}
    commands |= {f"tunepipe, workers: {n}": ours(path, workers=n) for n in (1, 2)}
    runs = in_turn(commands, environment_of(folder), repeats)
    costs = {name: min(r, key=lambda cost: cost.wall_seconds) for name, r in runs.items()}
    return [
        "| what | wall s | CPU s |",
        "|---|---|---|",
        *(f"| {name} | {c.wall_seconds:.2f} | {c.cpu_seconds:.2f} |" for name, c in costs.items()),
    ]


def defect_table(peers: Mapping[Peer, str], folder: Path) -> list[str]:
    """Show each tool one file for each kind of defect, and mark what it makes of it.

    `L` names the line, `x` notices without it, `.` accepts; a cell of a sound file is `.` or `!`.
    """
    defects = runpy.run_path(str(TESTS / "defects.py"))
    kinds = [kind for kind in defects["kinds"](FORMAT) if kind not in NOT_COMPARED]
    paths = [folder / f"{kind}.jsonl" for kind in kinds]
    for kind, path in zip(kinds, paths, strict=True):
        path.write_bytes(defects["plant"](kind, FORMAT))
    names = [OURS, *(peer.name for peer in peers)]
    columns = [_ours_on(paths)]
    columns += [_theirs_on(peer, python, paths, folder) for peer, python in peers.items()]
    table = [f"| kind | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    marks = []
    for row, kind in enumerate(kinds):
        wanted = [line for line, _ in defects["expected"](kind)]
        marks.append([_mark(column[row], wanted) for column in columns])
        table.append(f"| {kind} | {' | '.join(marks[-1])} |")
    planted = [m for kind, m in zip(kinds, marks, strict=True) if defects["expected"](kind)]
    sound = [m for kind, m in zip(kinds, marks, strict=True) if not defects["expected"](kind)]
    for words, rows_counted, signs in (
        (f"**noticed, of {len(planted)}**", planted, "Lx"),
        ("**with the line**", planted, "L"),
        (f"**false alarms, of {len(sound)}**", sound, "!"),
    ):
        counts = [sum(row[k] in signs for row in rows_counted) for k in range(len(names))]
        table.append(f"| {words} | {' | '.join(map(str, counts))} |")
    return table


def _ours_on(paths: Sequence[Path]) -> list[tuple[set[int], str]]:
    from tunepipe.validation.validate import validate

    return [({problem.line for problem in validate([path]).problems}, "") for path in paths]


def _theirs_on(
    peer: Peer, python: str, paths: Sequence[Path], folder: Path
) -> list[tuple[set[int], str]]:
    """Run a peer on all files; after one that kills its process, start again behind it."""
    found: list[tuple[set[int], str]] = []
    while len(found) < len(paths):
        rest = theirs(peer, python, paths[len(found) :])
        said = [
            json.loads(line)
            for line in measure(rest, environment_of(folder)).output.splitlines()
            if line.startswith('{"lines"')
        ]
        found += [(set(one["lines"] or ()), one["error"] or "") for one in said]
        if len(found) < len(paths):
            found.append((set(), "died"))
    return found


def _mark(found: tuple[set[int], str], wanted: Sequence[int]) -> str:
    lines, error = found
    named = lines | {int(number) for number in re.findall(r"line:? (\d+)", error)}
    if not wanted:
        return "!" if lines or error else "."
    if set(wanted) & named:
        return "L"
    return "x" if lines or error else "."


def main() -> None:
    """Read the options, run, and print the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=float, default=50, help="size of each file")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each tool on each file")
    parser.add_argument("--only", nargs="*", default=[], help="peers by name; all without")
    parser.add_argument(
        "--defects", action="store_true", help="the table of planted defects instead of speed"
    )
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()) / "tunepipe-benchmark"
    )
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    peers, skipped = installed(options.only, options.folder)
    if options.defects:
        print(*defect_table(peers, options.folder), sep="\n")
    else:
        measure_all(peers, options.megabytes, options.repeats, options.folder)
    for reason in skipped:
        print(f"\nskipped: {reason}")


def installed(only: Sequence[str], folder: Path) -> tuple[dict[Peer, str], list[str]]:
    """Give each peer its environment.

    Returns:
        The peers with their Pythons, and the others with the reason.
    """
    peers: dict[Peer, str] = {}
    skipped: list[str] = []
    for peer in PEERS:
        if not only or peer.name in only:
            try:
                peers[peer] = python_of(peer, folder)
            except (RuntimeError, subprocess.SubprocessError, OSError) as error:
                skipped.append(f"{peer.name}: {error}")
    return peers, skipped


def measure_all(peers: Mapping[Peer, str], megabytes: float, repeats: int, folder: Path) -> None:
    """Print a table for short and for long rows, sound and broken."""
    for shape, row_bytes in (("short rows, 200 B", 200), ("long rows, 4 KB", 4096)):
        for share in (0.0, 0.01):
            path = folder / f"{row_bytes}-{share}.jsonl"
            planted = write_file(path, megabytes, row_bytes, share)
            print(f"\n### {megabytes:g} MB, {shape}, {share:.0%} broken\n")
            print(*speed_table(path, planted, peers, repeats, folder), sep="\n", flush=True)
            if not planted:
                print("", *workers_table(path, repeats, folder), sep="\n", flush=True)
            path.unlink()


if __name__ == "__main__":
    main()
