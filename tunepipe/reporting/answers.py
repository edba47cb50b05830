"""The held-out rows as the report shows them: flips first, each answer against its reference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec import UNSET

from tunepipe.data.parts import readable_answer
from tunepipe.data.predictions import Prediction
from tunepipe.reporting.facts import RowFacts
from tunepipe.reporting.formatting import clip
from tunepipe.reporting.word_diff import Piece, diff

MAX_ROWS = 1000
_OTHERS = ("base", "champion")
_GROUPS = (
    ("broken", "Worse", "The deciding metric is lower than the base model's."),
    ("fixed", "Better", "The deciding metric is higher than the base model's."),
    ("unanswered", "Unanswered", "The tuned model gave no answer."),
    ("other", "All other rows", ""),
)
# Room for the texts of all changed rows together, and for those of all others: the page stays
# quick to open on a phone, and the rows that matter keep their texts the longest.
_CHANGED_CHARACTERS, _OTHER_CHARACTERS = 800_000, 400_000
_MAX_TEXT, _MIN_TEXT = 4000, 200


def side_by_side(
    answers: Mapping[str, Sequence[Prediction]],
    flips: Iterable[Mapping[str, Any]],
    media: Callable[[Any], list[dict[str, str]]] = lambda files: [],
) -> list[dict[str, Any]]:
    """Lay the models' answers side by side, in the tuned model's order; `media` shows the files."""
    others = {name: {row.key: row for row in rows} for name, rows in answers.items()}
    changed = {(flip["id"], flip.get("answer", 0)): flip["flip"] for flip in flips}
    return [
        {
            "id": row.label,
            "input": row.input,
            "reference": row.reference,
            "flip": changed.get(row.key, ""),
            "media": media(row.fields.get("media")),
            **{name: rows[row.key].prediction for name, rows in others.items() if row.key in rows},
        }
        for row in answers.get("tuned", ())
    ]


def row_groups(rows: Sequence[RowFacts], most: int = MAX_ROWS) -> dict[str, Any]:
    """Sort rows into what changed and what did not, and mark each answer's differences.

    The page shows a limited number of rows (`most`), flips first: `shown` of `total`, in the
    `groups` that have any, each with its `kind`, `title`, `note`, `total` and `rows`.
    """
    sorted_rows: dict[str, list[RowFacts]] = {kind: [] for kind, _, _ in _GROUPS}
    for row in rows:
        kind = "unanswered" if row.tuned is None else "other"
        sorted_rows[row.flip if row.flip in ("broken", "fixed") else kind].append(row)
    total, others = len(rows), len(sorted_rows["other"])
    changed = min(most, total - others)
    limits = dict.fromkeys(sorted_rows, _limit(_CHANGED_CHARACTERS, changed))
    limits["other"] = _limit(_OTHER_CHARACTERS, min(others, most - changed))
    left, groups = most, []
    for kind, title, note in _GROUPS:
        members = sorted_rows[kind]
        shown = [_row(row, limits[kind]) for row in members[:left]]
        left -= len(shown)
        if members:
            groups.append(
                {"kind": kind, "title": title, "note": note, "total": len(members), "rows": shown}
            )
    return {"shown": most - left, "total": total, "groups": groups}


def _limit(characters: int, rows: int) -> int:
    """How long a text may be: five texts a row have to share the room."""
    return min(_MAX_TEXT, max(_MIN_TEXT, characters // (5 * max(1, rows))))


def _row(row: RowFacts, limit: int) -> dict[str, Any]:
    reference = readable_answer(row.reference)
    # A model without an answer is left out, but the tuned model, whose answer is missing then.
    shown = [("tuned", row.tuned)] if row.tuned is not UNSET else []
    shown += [(name, text) for name in _OTHERS if (text := getattr(row, name)) is not None]
    return {
        "id": row.id,
        "input": clip(row.input, limit),
        "media": row.media,
        "reference": clip(reference, limit),
        "answers": [_answer(name, answer, reference, limit) for name, answer in shown],
    }


def _answer(name: str, answer: str | None, reference: str, limit: int) -> dict[str, Any]:
    # Calls are shown as calls, and not as the JSON that they are kept in.
    answer = None if answer is None else readable_answer(answer)
    state, pieces, left_out = "other", list[Piece](), 0
    if answer is None:
        state = "unanswered"
    elif answer == reference:
        state = "same"
    elif not answer:
        state = "empty"
    else:
        text, left_out = clip(answer, limit)
        pieces = diff(reference[:limit], text) if reference else []
        if not any(piece.kind == "same" for piece in pieces):
            pieces = [Piece("same", text)]
    return {"model": name, "state": state, "pieces": pieces, "left_out": left_out}
