"""What a misspelt name may have meant."""

from __future__ import annotations

from collections.abc import Collection


def nearest(name: str, known: Collection[str]) -> str:
    """Return the known name that is most like a name; "" where none is."""
    import difflib

    return next(iter(difflib.get_close_matches(name, sorted(known), n=1)), "")


def hint(name: str, known: Collection[str]) -> str:
    """Say "did you mean NAME?", or where no known name is near "one of NAME, NAME"."""
    near = nearest(name, known)
    return f"did you mean {near}?" if near else f"one of {', '.join(sorted(known))}"
