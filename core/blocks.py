"""One block of lines, looked at: what a worker does."""

from __future__ import annotations

from dataclasses import dataclass

from .diagnosis import diagnose, overlong
from .rules import Rules
from .sources import Block
from .tally import HASH_MAX, Tally, hashes, packed


@dataclass(frozen=True, slots=True)
class Task:
    """A block and what is known of its place.

    Args:
        block: The block; its data may be left out where the worker reads it by itself.
        path: The file's name, for the problems.
        first_line: The number of the block's first line.
        rules: What a row may hold.
        limit: How many problems of each code are kept.
        cutoff: See Tally.
        fast: Whether the fast tier looks first.
        near: Whether near-duplicates are looked for.
        read_bytes: How many bytes the worker reads at the block's offset; 0 takes `block.data`.
    """

    block: Block
    path: str
    first_line: int
    rules: Rules
    limit: int
    cutoff: int = HASH_MAX
    fast: bool = True
    near: bool = False
    read_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Examined:
    """What a block was found to be.

    Args:
        tally: Its counts and problems.
        inputs: The 64-bit hashes of the inputs, one a line; 0 where there is no sound row.
        outputs: Those of the outputs.
        marks: The lines' signatures (near_duplicates.py) where they were asked for.
    """

    tally: Tally
    inputs: bytes
    outputs: bytes
    marks: bytes = b""


def examine(task: Task) -> Examined:
    """Look at every line of a block: the fast tier first, the diagnoser for what it leaves."""
    tally = Tally(task.limit, task.cutoff)
    if task.block.skipped_bytes:
        finding = overlong(task.block.skipped_bytes)
        tally.add_findings([finding], task.first_line, task.path)
        tally.lines = tally.rows = 1
        return Examined(tally, packed([0]), packed([0]), _marks([""]) if task.near else b"")
    data = _read(task) if task.read_bytes else task.block.data
    inputs, outputs, texts, rest = _prove(data, task, tally)
    for place, line in rest:
        diagnosis = diagnose(line, task.rules)
        tally.add_findings(diagnosis.findings, task.first_line + place, task.path)
        tally.rows += not diagnosis.is_blank
        if diagnosis.input is not None and diagnosis.output is not None:
            inputs[place], outputs[place] = hashes([diagnosis.input, diagnosis.output])
            tally.add_row(diagnosis.input, diagnosis.output, inputs[place])
            texts[place] = f"{diagnosis.input} {diagnosis.output}" if task.near else ""
    tally.lines = len(inputs)
    marks = _marks([texts.get(n, "") for n in range(tally.lines)]) if task.near else b""
    return Examined(tally, packed(inputs), packed(outputs), marks)


def _marks(texts: list[str]) -> bytes:
    from .near_duplicates import signatures

    return signatures(texts)


def _prove(
    data: bytes, task: Task, tally: Tally
) -> tuple[list[int], list[int], dict[int, str], list[tuple[int, bytes]]]:
    """Return the lines' hashes and texts as far as they are proved, and the lines that are not.

    The texts are left out where nobody asks for near-duplicates.
    """
    if not task.fast:
        lines = data.split(b"\n")
        if not lines[-1]:
            lines.pop()
        return [0] * len(lines), [0] * len(lines), {}, list(enumerate(lines))
    from .proof import prove

    proof = prove(data, task.rules)
    tally.add_proof(proof)
    columns = (proof.places, proof.inputs, proof.outputs)
    texts = {n: f"{a} {b}" for n, a, b in zip(*columns, strict=True)} if task.near else {}
    if not proof.unproved:
        return list(proof.input_hashes), list(proof.output_hashes), texts, []
    inputs, outputs = [0] * proof.lines, [0] * proof.lines
    places = (proof.places, proof.input_hashes, proof.output_hashes)
    for place, given, wanted in zip(*places, strict=True):
        inputs[place], outputs[place] = given, wanted
    return inputs, outputs, texts, proof.unproved


def _read(task: Task) -> bytes:
    with open(task.path, "rb") as file:
        file.seek(task.block.offset)
        return file.read(task.read_bytes)
