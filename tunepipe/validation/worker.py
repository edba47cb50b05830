"""Some lines of a file, looked at: what a worker does."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

from tunepipe.catalog.limits import Rules
from tunepipe.data.source import Block, Span
from tunepipe.data.text_pairs import questions_within
from tunepipe.validation.content_checks import file_tokens
from tunepipe.validation.row_checks import diagnose, overlong
from tunepipe.validation.statistics import HASH_MAX, Tally, hashes

# Of one row in near_duplicates.py.
SIGNATURE_BYTES = 128
_HIDDEN = frozenset(("secret", "pii"))  # what rows with these say is shown nowhere


@dataclass(frozen=True, slots=True)
class BlockTask:
    """Lines to check (or where the worker reads them), and how.

    Args:
        limit: See Tally, as for `cutoff`.
        fast: Whether the fast path looks first.
        near: Whether near-duplicates are looked for.
        openings: Whether rows are compared by their first turns too; see `questions_within`.
    """

    lines: Block | Span
    path: str
    rules: Rules
    limit: int
    cutoff: int = HASH_MAX
    fast: bool = True
    near: bool = False
    openings: bool = False


@dataclass(frozen=True, slots=True)
class Examined:
    """What lines were found to be; the first of them has the number 1.

    Each line has 64-bit hashes of its input and its output, 0 if there is no valid row, and if they
    were asked for its signature (near_duplicates.py), and the line numbers and hashes of the
    questions within conversations (`openings`).
    """

    tally: Tally
    inputs: bytes
    outputs: bytes
    marks: bytes = b""
    openings: tuple[bytes, bytes] = (b"", b"")


def examine(task: BlockTask) -> Examined:
    """Check every line: the fast path first, the row checks for what it leaves."""
    tally = Tally(task.limit, task.cutoff)
    blocks = task.lines.blocks() if isinstance(task.lines, Span) else [task.lines]
    openings = array("Q"), array("Q")
    columns = [_examine_block(block, task, tally, openings) for block in blocks]
    inputs, outputs, marks = map(b"".join, zip(*columns, strict=True)) if columns else (b"",) * 3
    lines, values = openings
    return Examined(tally, inputs, outputs, marks, (lines.tobytes(), values.tobytes()))


def _examine_block(
    block: Block, task: BlockTask, tally: Tally, openings: tuple[array[int], array[int]]
) -> tuple[bytes, bytes, bytes]:
    """Add a block to the tally; return its lines' hashes and signatures."""
    first_line = tally.lines + 1
    if isinstance(block, int):
        tally.add([overlong(block)], first_line, task.path)
        tally.lines += 1
        tally.rows += 1
        return bytes(8), bytes(8), bytes(SIGNATURE_BYTES) if task.near else b""
    lines = block.removesuffix(b"\n").split(b"\n")

    # The rows without any problem, as far as the fast path sees them.
    places, given, wanted = list[int](), list[str](), list[str]()
    if task.fast and task.rules.format:
        from tunepipe.validation.fast_path import accept

        places, given, wanted = accept(lines, task.rules)
    tally.rows += len(places)
    labels = list(wanted)

    # All other lines, one by one; blank ones are only counted, for there may be millions.
    rest = range(len(lines)) if not places else sorted({*range(len(lines))}.difference(places))
    blank = [place for place in rest if not lines[place].strip()]
    tally.add_blank_lines([first_line + place for place in blank], task.path)
    for place in rest:
        if not lines[place].strip():
            continue
        diagnosis = diagnose(lines[place], task.rules)
        tally.add(diagnosis.problems, first_line + place, task.path)
        tally.rows += not diagnosis.is_blank
        tokens = [file_tokens(file, task.rules.media) for file in diagnosis.media]
        tally.add_media((file.resolution for file in diagnosis.media), tokens)
        if diagnosis.input is not None and diagnosis.output is not None:
            places.append(place)
            given.append(diagnosis.input)
            wanted.append(diagnosis.output)
            if _HIDDEN.isdisjoint(problem.code for problem in diagnosis.problems):
                labels.append(diagnosis.output)

    # What is compared across rows: 0 where there is no valid row.
    tally.lines += len(lines)
    inputs, outputs = (array("Q", bytes(8 * len(lines))) for _ in range(2))
    input_hashes = hashes(given)
    for place, value, other in zip(places, input_hashes, hashes(wanted), strict=True):
        inputs[place], outputs[place] = value, other
    tally.add_rows(given, wanted, input_hashes, labels)
    for place, text in zip(places, given, strict=True) if task.openings else ():
        for opening in questions_within(text):
            openings[0].append(first_line + place)
            openings[1].extend(hashes([opening]))
    if not task.near:
        return inputs.tobytes(), outputs.tobytes(), b""
    from tunepipe.validation.near_duplicates import signatures

    texts = [""] * len(lines)
    for place, question, answer in zip(places, given, wanted, strict=True):
        texts[place] = f"{question} {answer}"
    return inputs.tobytes(), outputs.tobytes(), signatures(texts)
