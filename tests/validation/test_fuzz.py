import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import defects
from tunepipe.catalog.catalog import load_catalog
from tunepipe.data.formats import FORMATS
from tunepipe.validation.fast_path import accept
from tunepipe.validation.validate import validate
from tunepipe.validation.worker import BlockTask, examine

BOUNDED = settings(
    deadline=None,
    max_examples=60,
)

# Bytes and texts that have broken readers of JSON lines before.
PIECES = [
    b'"', b"\\", b"\n", b"\r", b"{", b"}", b"[", b"]", b",", b":", b" ", b"\\u", b"\\u0022",
    b"\\u001c", b"\\u001e", b"\\ud83d", b"\\ude00", b"\\b", b"\\\\", b"\x00", b"\x1c", b"\x7f",
    b"\xc2\x85", b"\xe2\x80\xa8", b"\xe2\x80\x8b", b"\xef\xbb\xbf", b"\xef\xbf\xbd", b"\xff",
    b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"null", b"NaN", b"1e999", b"true", b'"role":"user",',
    b'"input_text":"x",', b"AKIAQWERTYUIOPASDFGH", b"https://example.com/a/long/path",
    "　".encode(), "あ".encode(), b"\x0b", b"\x0c", b"system", b"model", b"assistant",
]  # fmt: skip

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": "b:"}'}}
LOUD = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "\x07"}}
ASKED = {"role": "user", "content": "where?"}
TOOLS = [
    {
        "functionDeclarations": [
            {"name": "f", "parameters": {"type": "object", "minimum": 1.5}},
            {"name": "f:", "parametersJsonSchema": {"n": [1.5, None]}},
        ]
    }
]
DECLARED = [{"type": "function", "function": {"name": "f", "description": "~"}}]
# Rows that hold more than two texts; some are sound, some are not.
RICH = {
    "messages": [
        {"messages": [ASKED, {"role": "assistant", "content": "ok", "weight": 1}] * 2},
        {"messages": [ASKED, {"role": "assistant", "content": "where?", "weight": 1}] * 2},
        {"messages": [ASKED, {"role": "assistant", "content": None, "tool_calls": [LOUD]}]},
        {"messages": [ASKED, {"role": "assistant", "content": 'h"e\tre', "weight": 1}]},
        {"messages": [ASKED, {"role": "assistant", "content": "here", "weight": 2}]},
        {"messages": [ASKED, {"role": "assistant", "content": "here", "weight": True}]},
        {"messages": [ASKED, {"role": "assistant", "content": "where?", "weight": 0}]},
        {"messages": [ASKED, {"role": "assistant", "content": " \n", "weight": 0}]},
        {
            "messages": [ASKED, {"role": "model", "content": "here"}],
            "labels": {"a:": "b"},
        },
        {
            "messages": [
                ASKED,
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "c1", "content": ""},
                {"role": "assistant", "content": "here"},
            ],
            "tools": [{"type": "function", "function": {"name": "f", "description": "\u200b"}}],
        },
        {
            "messages": [
                {"role": "system", "content": "be\u3000brief"},
                {"role": "user", "content": [{"type": "text", "text": "this?"}]},
                {"role": "assistant", "content": "", "tool_calls": [CALL, {**CALL, "id": "c2"}]},
            ],
            "parallel_tool_calls": False,
            "tools": DECLARED,
        },
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "this?"},
                        {"type": "image_url", "image_url": {"url": "gs://b/o.png"}},
                        {"type": "other", "~": 1},
                    ],
                },
                {"role": "assistant", "content": "text", "refusal": None},
            ]
        },
    ],
    "gemini": [
        *(
            {
                "contents": [
                    {"role": "user", "parts": [{"text": "a"}]},
                    {"role": "model", "parts": [{"text": "b"}]},
                ],
                "labels": {"a": odd},
            }
            for odd in ("b", float("nan"), 1e999, 10**30, json.loads("[" * 120 + "]" * 120))
        ),
        {
            "contents": [
                {"role": "user", "parts": [{"text": "a"}, {"text": "b\\"}]},
                {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"x": 1e3}}}]},
                {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}]},
                {"role": "model", "parts": [{"text": "model"}]},
            ],
            "tools": TOOLS,
            "generationConfig": {"temperature": 0.5},
        },
        {
            "contents": [
                {
                    "role": "user",
                    "parts": [
                        {"fileData": {"fileUri": "gs://b/a.png", "mimeType": "image/png"}},
                        {"text": "what?"},
                    ],
                },
                {"role": "model", "parts": [{"text": "a cat"}, {}]},
            ],
            "systemInstruction": {"parts": [{"text": "x"}, {"text": "　"}]},
        },
    ],
    "preference": [
        *(
            {
                "input": {"messages": [ASKED]},
                "preferred_output": [{"role": "assistant", "content": "here"}],
                "non_preferred_output": [{"role": "assistant", "content": text}],
            }
            for text in ("no", "\u200b", "\n", "\u3000", "\x01", "assistant")
        ),
        {
            "input": {"messages": [ASKED], "tools": []},
            "preferred_output": [{"role": "assistant", "content": "here"}],
            "non_preferred_output": [{"role": "assistant", "content": "no"}],
        },
        {
            "contents": [{"role": "user", "parts": [{"text": "a"}]}],
            "completions": [
                {"score": score, "completion": {"role": "model", "parts": [{"text": "b"}]}}
                for score in (0.3, 0.3)
            ],
        },
    ],
    "palm-chat": [
        {"context": "", "messages": [{"author": a, "content": a} for a in ("user", "bot")]},
        {"context": "\u00ad", "messages": [{"author": "user", "content": "x"}] * 2},
    ],
}

SKIPPED = ("overlong_line", "too_long", "deep_nesting")


def mutated(format: str, seed: int) -> bytes:
    """Return lines of every kind, some with pieces put in, bytes changed or cut out."""
    rng = random.Random(seed)
    kinds = [kind for kind in defects.PAIR_KINDS if kind not in SKIPPED]
    lines = defects.sound_lines(format, 12, seed)
    makers = {kind: defects.PAIR_KINDS[kind][1] for kind in kinds} | defects.OK_KINDS
    if format == "messages":
        makers |= {kind: make for kind, (_, make) in defects.MESSAGE_KINDS.items()}
    lines += [makers[kind](format) for kind in rng.sample(sorted(makers), 12)]
    rich = RICH.get(format, [])
    lines += [defects.line(row, ensure_ascii=rng.random() < 0.3) for row in rich for _ in range(3)]
    lines += rng.sample(lines, 4)
    rng.shuffle(lines)
    for _ in range(rng.randrange(30)):
        n = rng.randrange(len(lines))
        at = rng.randrange(len(lines[n]) + 1)
        piece = rng.choice(PIECES) if rng.random() < 0.7 else b""
        lines[n] = lines[n][:at] + piece + lines[n][at + rng.choice((0, 0, 1, 2, 9)) :]
    return b"\n".join(lines) + rng.choice((b"", b"\n", b"\r\n", b"\n\n"))


@pytest.mark.parametrize("format", FORMATS)
@BOUNDED
@given(seed=st.integers(0, 10**6))
def test_the_fast_tier_says_what_the_diagnoser_says(format, seed):
    block = mutated(format, seed)
    rules = load_catalog().rules_for(format, pii=seed % 5 == 0)
    slow, fast = (examine(BlockTask(block, "f", rules, 1000, fast=fast)) for fast in (False, True))
    assert fast.tally.problems == slow.tally.problems
    assert fast == slow


@BOUNDED
@given(
    format=st.sampled_from(FORMATS),
    seed=st.integers(0, 10**6),
    block_bytes=st.integers(1, 300),
    fast=st.booleans(),
)
def test_the_report_does_not_depend_on_blocks(tmp_path, format, seed, block_bytes, fast):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(mutated(format, seed))
    whole = validate([path], format=format)
    cut = validate(
        [path], format=format, block_bytes=block_bytes, fast_from_bytes=0 if fast else 1 << 30
    )
    assert cut == whole


@pytest.mark.parametrize("format", ["palm", "gemini"])
def test_the_report_does_not_depend_on_workers(tmp_path, format):
    paths = [tmp_path / f"{number}.jsonl" for number in range(3)]
    for number, path in enumerate(paths):
        path.write_bytes(b"\n".join(mutated(format, seed) for seed in range(number, 12)))
    held = tmp_path / "held.jsonl"
    held.write_bytes(b"\n".join(defects.sound_lines(format)))
    options = {"format": format, "against": [held], "max_problems": 50, "fast_from_bytes": 3000}
    one = validate(paths, workers=1, **options)
    two = validate(paths, workers=2, block_bytes=700, **options)
    assert two == one
    assert one.counts["eval-leak"] > 0
    assert len(one.problems) == 50 < one.problems_total


VALID = {"messages": (8,), "gemini": (0,), "preference": (), "palm-chat": ()}


@pytest.mark.parametrize("format", VALID)
def test_common_valid_rows_take_the_fast_path(format):
    lines = [defects.line(RICH[format][n]) for n in VALID[format]]
    lines += defects.sound_lines(format, 3)
    places, _, _ = accept(lines, load_catalog().rules_for(format))
    assert places == list(range(len(lines)))
