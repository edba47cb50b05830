"""Some lines of a file, looked at: what a worker does."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Any

from tunepipe.catalog.limits import Rules
from tunepipe.data.source import Block, Span
from tunepipe.validation.row_checks import diagnose, overlong
from tunepipe.validation.statistics import HASH_MAX, Tally, hashes

_HIDDEN = frozenset(("secret", "pii"))  # what rows with these say is shown nowhere


@dataclass(frozen=True, slots=True)
class Task:
    """Lines to look at, and what they are held to.

    Args:
        lines: The lines, or where the worker reads them.
        path: The file's name, for the problems.
        rules: What a row may hold.
        limit: How many problems of each code are kept.
        cutoff: See Tally.
        fast: Whether the fast tier looks first.
        near: Whether near-duplicates are looked for.
    """

    lines: Block | Span
    path: str
    rules: Rules
    limit: int
    cutoff: int = HASH_MAX
    fast: bool = True
    near: bool = False


@dataclass(frozen=True, slots=True)
class Examined:
    """What lines were found to be.

    Args:
        tally: Their counts and problems; the first line has the number 1.
        inputs: The 64-bit hashes of the inputs, one a line; 0 if there is no valid row.
        outputs: Those of the outputs.
        marks: The lines' signatures (near_duplicates.py) if they were asked for.
    """

    tally: Tally
    inputs: bytes
    outputs: bytes
    marks: bytes = b""


def examine(task: Task) -> Examined:
    """Look at every line: the fast tier first, the diagnoser for what it leaves."""
    tally = Tally(task.limit, task.cutoff)
    blocks = task.lines.blocks() if isinstance(task.lines, Span) else [task.lines]
    columns = [_examine_block(block, task, tally) for block in blocks]
    inputs, outputs, marks = map(b"".join, zip(*columns, strict=True)) if columns else (b"",) * 3
    return Examined(tally, inputs, outputs, marks)


def _examine_block(block: Block, task: Task, tally: Tally) -> tuple[bytes, bytes, bytes]:
    """Add a block to the tally; return its lines' hashes and signatures."""
    first_line = tally.lines + 1
    if block.skipped_bytes:
        tally.add_findings([overlong(block.skipped_bytes)], first_line, task.path)
        tally.lines += 1
        tally.rows += 1
        return bytes(8), bytes(8), _marks([""]) if task.near else b""
    inputs, outputs, texts, rest = _prove(block.data, task, tally)
    sound: list[tuple[int, str, str]] = []
    labels: list[str] = []
    blank = [place for place, line in rest if not line.strip()]
    if blank:
        tally.add_blank_lines([first_line + place for place in blank], task.path)
        rest = [(place, line) for place, line in rest if line.strip()]
    for place, line in rest:
        diagnosis = diagnose(line, task.rules)
        tally.add_findings(diagnosis.findings, first_line + place, task.path)
        tally.rows += not diagnosis.is_blank
        tally.add_media(diagnosis.media)
        if diagnosis.input is not None and diagnosis.output is not None:
            sound.append((place, diagnosis.input, diagnosis.output))
            if _HIDDEN.isdisjoint(one.code for one in diagnosis.findings):
                labels.append(diagnosis.output)
    if sound:
        places, given, wanted = zip(*sound, strict=True)
        found = hashes(given)
        tally.add_rows(given, wanted, found, labels)
        for place, value, other in zip(places, found, hashes(wanted), strict=True):
            inputs[place], outputs[place] = value, other
        if task.near:
            texts |= {place: f"{a} {b}" for place, a, b in sound}
    tally.lines += len(inputs)
    marks = _marks([texts.get(n, "") for n in range(len(inputs))]) if task.near else b""
    return inputs.tobytes(), outputs.tobytes(), marks


def _marks(texts: list[str]) -> bytes:
    from tunepipe.validation.near_duplicates import signatures

    return signatures(texts)


def _prove(
    data: bytes, task: Task, tally: Tally
) -> tuple[Any, Any, dict[int, str], list[tuple[int, bytes]]]:
    """Return the lines' hashes and texts as far as they are proved, and the lines that are not.

    The texts are left out unless near-duplicates are looked for.
    """
    if not task.fast:
        lines = data.removesuffix(b"\n").split(b"\n")
        inputs, outputs = (array("Q", bytes(8 * len(lines))) for _ in range(2))
        return inputs, outputs, {}, list(enumerate(lines))
    from tunepipe.validation.fast_path import prove

    proof = prove(data, task.rules)
    tally.add_proof(proof)
    columns = (proof.places, proof.inputs, proof.outputs)
    texts = {n: f"{a} {b}" for n, a, b in zip(*columns, strict=True)} if task.near else {}
    return *proof.columns(), texts, proof.unproved
