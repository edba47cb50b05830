"""Datasets with one planted defect each: the same bytes for the same seed.

`plant(kind, format)` gives a file of 120 sound rows but for line 61, and `expected(kind)` says
what a validator must report there, and nowhere else. The kinds named ok_... must raise nothing.
"""

import json
import random
from collections.abc import Callable
from typing import Any

LINE = 61
ROWS = 120

_JAPANESE = "今日はとても天気がいいので駅前の店で新しい本を買い夕方まで静かに読みました"
_ENGLISH = (
    "the",
    "quick",
    "brown",
    "fox",
    "looks",
    "over",
    "a",
    "dog",
    "and",
    "waits",
    "for",
    "it",
)

Row = dict[str, Any]


def texts(rng: random.Random, number: int) -> tuple[str, str]:
    """Return a question and an answer that no other number has; half are Japanese."""
    if number % 2:
        return (
            f"{number}番目: " + "".join(rng.choices(_JAPANESE, k=30)),
            f"{number}。" + "".join(rng.choices(_JAPANESE, k=12)),
        )
    return (
        f"question {number}: " + " ".join(rng.choices(_ENGLISH, k=12)),
        f"answer {number}, " + " ".join(rng.choices(_ENGLISH, k=6)),
    )


def row(format: str, question: Any, answer: Any) -> Row:
    """Return a question and its answer as a row of a format."""
    match format:
        case "palm":
            return {"input_text": question, "output_text": answer}
        case "prompt-completion":
            return {"prompt": question, "completion": answer}
        case "palm-chat":
            turns = [("user", question), ("assistant", answer)]
            return {"messages": [{"author": who, "content": text} for who, text in turns]}
        case "messages":
            turns = [("user", question), ("assistant", answer)]
            return {"messages": [{"role": who, "content": text} for who, text in turns]}
        case "gemini":
            turns = [("user", question), ("model", answer)]
            return {"contents": [{"role": who, "parts": [{"text": text}]} for who, text in turns]}
    first = {"role": "user", "parts": [{"text": question}]}
    answers = [(1.0, answer), (0.0, "I do not know.")]
    completions = [
        {"score": score, "completion": {"role": "model", "parts": [{"text": text}]}}
        for score, text in answers
    ]
    return {"contents": [first], "completions": completions}


def line(value: Any, **options: Any) -> bytes:
    """Return a row as a line without its newline."""
    return json.dumps(value, **{"ensure_ascii": False, **options}).encode("utf-8", "surrogatepass")


def sound_lines(format: str, rows: int = ROWS, seed: int = 0) -> list[bytes]:
    """Return lines that have no problem at all."""
    rng = random.Random(seed)
    return [line(row(format, *texts(rng, number))) for number in range(1, rows + 1)]


def _text(question: str, answer: str) -> Callable[[str], bytes]:
    """Make a defect that lies in the two texts alone."""
    return lambda format: line(row(format, question, answer))


def _swap(old: bytes, new: bytes) -> Callable[[str], bytes]:
    """Make a defect of the bytes of a sound line."""

    def planted(format: str) -> bytes:
        sound = line(row(format, "which way?", "this QQ way"))
        assert old in sound
        return sound.replace(old, new)

    return planted


def _ends(cut: int, tail: bytes) -> Callable[[str], bytes]:
    def planted(format: str) -> bytes:
        sound = line(row(format, "which way?", "this way"))
        return sound[: len(sound) - cut] + tail

    return planted


def _twice(escape: bool) -> Callable[[str], bytes]:
    """Repeat the row's first key; its first letter as an escape makes it harder to see."""

    def planted(format: str) -> bytes:
        sound = line(row(format, "which way?", "this way"))
        key = next(iter(json.loads(sound)))
        name = f"\\u{ord(key[0]):04x}{key[1:]}" if escape else key
        return b'{"' + name.encode() + b'": "first", ' + sound[1:]

    return planted


def _extra(format: str) -> bytes:
    return line(row(format, "which way?", "this way") | {"note": "x"})


def _first_key(new: str) -> Callable[[str], bytes]:
    """Rename the first key, or leave it out where the new name is empty."""

    def planted(format: str) -> bytes:
        sound = row(format, "which way?", "this way")
        first, *rest = sound.items()
        renamed = {new.format(first[0]): first[1]} if new else {}
        # The format is to stay recognisable where its first field is its only one.
        return line(renamed | dict(rest) if rest else {**renamed, "labels": {}})

    return planted


def _answer(value: Any) -> Callable[[str], bytes]:
    return lambda format: line(row(format, "which way?", value))


def _turns(*turns: tuple[str, str]) -> Callable[[str], bytes]:
    return lambda _: line({"messages": [{"role": who, "content": text} for who, text in turns]})


def _rewritten(lines: list[bytes]) -> bytes:
    """The row of line 12 with its keys turned round and its text in escapes."""
    value = json.loads(lines[11])
    return line(dict(reversed(value.items())), ensure_ascii=True, separators=(",", ":"))


def _contradicted(format: str) -> Callable[[list[bytes]], bytes]:
    def planted(lines: list[bytes]) -> bytes:
        question = texts(random.Random(0), 1)[0]
        assert json.loads(lines[0]) is not None
        return line(row(format, question, "quite another answer"))

    return planted


PAIR_KINDS: dict[str, tuple[str, Callable[[str], bytes]]] = {
    "blank_line": ("blank-line", lambda _: b""),
    "bom_mid_file": ("bom", lambda f: b"\xef\xbb\xbf" + line(row(f, "which way?", "this way"))),
    "ctrl_c1_del": ("control-character", _text("which\x7f way?\x85", "this way")),
    "ctrl_escaped_nul": ("control-character", _text("which\x00 way?", "this way")),
    "deep_nesting": ("nesting-too-deep", lambda _: b'{"a":' + b"[" * 6000 + b"]" * 6000 + b"}"),
    "dup_key": ("duplicate-key", _twice(False)),
    "dup_key_escaped": ("duplicate-key", _twice(True)),
    "empty_input": ("empty-text", _text("", "this way")),
    "empty_output": ("empty-text", _text("which way?", "")),
    "extra_field": ("extra-field", _extra),
    "input_equals_output": ("input-equals-output", _text("this way", "this way")),
    "invisible_bidi": ("invisible-character", _text("which\u202e way?", "this way")),
    "json_nan": ("not-json", _swap(b'"this QQ way"', b"NaN")),
    "json_raw_control": ("control-character", _swap(b"QQ", b"\x01")),
    "json_single_quotes": ("not-json", lambda f: line(row(f, "x", "y")).replace(b'"', b"'")),
    "json_trailing_comma": ("not-json", _ends(1, b",}")),
    "json_trailing_text": ("not-json", _ends(0, b" and more")),
    "json_truncated": ("not-json", _ends(6, b"")),
    "json_two_objects": ("not-json", _ends(0, b'{"a": 1}')),
    "list_output": ("wrong-type", _answer(["this way"])),
    "lone_surrogate": ("lone-surrogate", _swap(b"QQ", b"\\ud83d")),
    "missing_field": ("missing-field", _first_key("")),
    "nul_byte": ("control-character", _swap(b"QQ", b"\x00")),
    "null_output": ("missing-field", _answer(None)),
    "number_output": ("wrong-type", _answer(42)),
    "replacement_char": ("replacement-character", _text("which way?", "this \ufffd way")),
    "space_only_output": ("empty-text", _text("which way?", "\u3000 \u00a0\n")),
    "too_long": ("too-long", _text("長い話" * 200_000, "this way")),
    "top_array": ("not-object", lambda _: b'["which way?", "this way"]'),
    "top_scalar": ("not-object", lambda _: b"42"),
    "utf8_bad_byte": ("not-utf8", _swap(b"QQ", b"\xff")),
    "utf8_shift_jis": ("not-utf8", _swap(b"QQ", "東京".encode("cp932"))),
    "utf8_surrogate_bytes": ("not-utf8", _swap(b"QQ", b"\xed\xa0\x80")),
    "utf8_truncated": ("not-utf8", _swap(b"QQ", "東".encode()[:2])),
    # What the facts do not list.
    "secret": ("secret", _text("which way?", "use AKIA" + "QWERTYUIOPASDFGH")),
    "other_format": ("mixed-formats", lambda f: line(row(_other(f), "which way?", "this way"))),
    "overlong_line": ("too-long", lambda f: line(row(f, "x" * (32 << 20), "this way"))),
}

MESSAGE_KINDS: dict[str, tuple[str, Callable[[str], bytes]]] = {
    "empty_list": ("no-turns", _turns()),
    "last_not_assistant": (
        "role-order",
        _turns(("user", "a?"), ("assistant", "b"), ("user", "c?")),
    ),
    "no_assistant": ("role-order", _turns(("user", "which way?"))),
    "role_unknown": ("unknown-role", _turns(("wizard", "which way?"), ("assistant", "this way"))),
    "roles_not_alternating": (
        "role-order",
        _turns(("user", "a?"), ("user", "b?"), ("assistant", "c")),
    ),
    "system_not_first": (
        "role-order",
        _turns(("user", "a?"), ("system", "s"), ("user", "b?"), ("assistant", "c")),
    ),
}

OK_KINDS: dict[str, Callable[[str], bytes]] = {
    "ok_ascii_escapes": lambda f: line(row(f, "どちら? 😀", "こちら"), ensure_ascii=True),
    "ok_backslash_end": _text("a path: C:\\", "\\u0000 is no control, nor \\b \\\\"),
    "ok_crlf": lambda f: line(row(f, "which way?", "this way")) + b"\r",
    "ok_key_in_text": _text('"input_text": "x", {"messages": []}', '"output_text"'),
    "ok_numeric_text": _text("12", "24"),
    "ok_u2028": _text("which\u2028way?", "this\u2029way, said the\u00a0man"),
    "ok_joiners": _text("👩\u200d👩\u200d👧 می\u200cخواهم", "🏴\U000e0067\U000e0062\U000e007f ok"),
    "ok_new_lines": _text("a\n\tb\r\nc", "d\ne"),
}

# Kinds that concern two rows, or the file.
FILE_KINDS = {
    "bom_file_start": [(1, "bom")],
    "conflicting_output": [(LINE, "conflicting-row")],
    "dup_exact": [(LINE, "duplicate-row")],
    "dup_rewritten": [(LINE, "duplicate-row")],
    "misspelt_key": [(LINE, "extra-field"), (LINE, "missing-field")],
    "utf16_file": [(1, "not-jsonl")],
    "csv_file": [(1, "not-jsonl")],
    "array_file": [(1, "not-jsonl")],
    "pretty_file": [(1, "not-jsonl")],
    "lfs_file": [(1, "lfs-pointer")],
    "zip_file": [(1, "compressed-file")],
    "clean": [],
    "no_final_newline": [],
}


def kinds(format: str) -> list[str]:
    """Name every kind that can be planted in a format."""
    own = [*MESSAGE_KINDS] if format == "messages" else []
    return [*PAIR_KINDS, *own, *OK_KINDS, *FILE_KINDS]


def expected(kind: str) -> list[tuple[int, str]]:
    """Return line and code of everything that must be reported."""
    if kind in FILE_KINDS:
        return FILE_KINDS[kind]
    if kind in OK_KINDS:
        return []
    return [(LINE, (PAIR_KINDS | MESSAGE_KINDS)[kind][0])]


def plant(kind: str, format: str = "palm", rows: int = ROWS, seed: int = 0) -> bytes:
    """Return a file with the defect of one kind on line 61, or in the whole file."""
    lines = sound_lines(format, rows, seed)
    if kind in FILE_KINDS:
        return _file(kind, format, lines)
    planted = {**{name: make for name, (_, make) in PAIR_KINDS.items()}, **OK_KINDS}
    planted |= {name: make for name, (_, make) in MESSAGE_KINDS.items()}
    lines[LINE - 1] = planted[kind](format)
    return b"\n".join(lines) + b"\n"


def _file(kind: str, format: str, lines: list[bytes]) -> bytes:
    match kind:
        case "dup_exact":
            lines[LINE - 1] = lines[11]
        case "dup_rewritten":
            lines[LINE - 1] = _rewritten(lines)
        case "conflicting_output":
            lines[LINE - 1] = _contradicted(format)(lines)
        case "misspelt_key":
            lines[LINE - 1] = _first_key("{}s")(format)
        case "pretty_file":
            return json.dumps(json.loads(lines[0]), indent=1).encode()
        case "array_file":
            return b"[" + b",\n".join(lines) + b"]"
    whole = b"\n".join(lines) + b"\n"
    match kind:
        case "bom_file_start":
            return b"\xef\xbb\xbf" + whole
        case "utf16_file":
            return whole.decode().encode("utf-16")
        case "csv_file":
            return b"input_text,output_text\nwhich way?,this way\n"
        case "lfs_file":
            return b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
        case "zip_file":
            return b"PK\x03\x04" + whole
        case "no_final_newline":
            return whole[:-1]
    return whole


def _other(format: str) -> str:
    return "prompt-completion" if format == "palm" else "palm"
