"""Rows that are not of their format, each with its reason, and the inputs that rows have."""

import pytest

from tunepipe.data import conversations
from tunepipe.data.conversations import convert_row, example, parse, view
from tunepipe.errors import DataError

ASKED, SAID = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
QUESTION = {"role": "user", "parts": [{"text": "q"}]}
ANSWER = {"role": "model", "parts": [{"text": "a"}]}
PICTURE = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESPONSE = {"functionResponse": {"name": "f", "response": {}}}
UNANSWERED = "the answers of tools are not one for each call of the turn before"
NOT_TWO = "it has not two completions with different scores"
SEVERAL = "an answer has several messages"
REJECTED = "the rejected answer is not the assistant's, or has no text"
LAST = "the last turn is not the assistant's"


def scored(*scores, worse=ANSWER):
    completions = [
        {"score": score, "completion": answer}
        for score, answer in zip(scores, (ANSWER, worse, worse), strict=False)
    ]
    return {"contents": [QUESTION], "completions": completions}


def rated(preferred, other):
    asked = {"messages": [ASKED]}
    return {"input": asked, "preferred_output": preferred, "non_preferred_output": other}


@pytest.mark.parametrize(
    ("format", "row", "reason"),
    [
        ("palm", {"input_text": "q"}, "output_text is missing"),
        ("palm", {"input_text": "q", "output_text": 3},
         "output_text: expected a text, got a number"),
        ("palm", {"input_text": "q", "output_text": ""},
         "output_text: a turn of the assistant has no text"),
        ("palm", {"prompt": "q", "completion": "a"}, "it has not the fields of the format palm"),
        ("prompt-completion", {"prompt": "q", "completion": 3},
         "completion: expected a text, got a number"),
        ("messages", {"messages": 3}, "messages: expected a list, got a number"),
        ("messages", {"messages": "q"}, "messages: expected a list, got a text"),
        ("messages", {"messages": []}, LAST),
        ("messages", {"messages": [ASKED]}, LAST),
        ("messages", {"messages": [SAID]}, "the first turn is not the user's"),
        ("messages", {"messages": [ASKED, ASKED, SAID]}, "two turns of one role follow each other"),
        ("messages", {"messages": [{"role": "wizard", "content": "a"}]},
         "messages[0]: a turn has a role that is not known"),
        ("messages", {"messages": [ASKED, SAID | {"weight": 2}]},
         "a message has a weight that is neither 0 nor 1"),
        ("messages", {"messages": [ASKED | {"content": []}, SAID]},
         "a message has a list of no parts"),
        ("messages", {"messages": [ASKED, CALLING, ASKED, SAID]}, f"messages[2]: {UNANSWERED}"),
        ("messages", {"messages": [ASKED, SAID | {"tool_calls": [CALL, CALL]}]},
         "messages[1]: two calls of the turn have the same id"),
        ("gemini", {"contents": [{"role": "model", "parts": "a"}]},
         "contents[0].parts: expected a list, got a text"),
        ("gemini", {"contents": [QUESTION, {"role": "function", "parts": [{"text": "x"}]}, ANSWER]},
         "contents[1]: a turn of a function holds no function's response"),
        ("gemini", {"contents": [QUESTION, {"role": "user", "parts": [RESPONSE]}, ANSWER]},
         f"contents[1]: {UNANSWERED}"),
        ("gemini", {"contents": [{"role": "user", "parts": [{"functionCall": {"name": "f"}}]},
                                 ANSWER]},
         "contents[0]: a turn of the user holds a function call"),
        ("gemini", {"contents": [QUESTION, {"role": "model", "parts": [PICTURE | {"text": "x"}]}]},
         "a part holds inlineData, text"),
        ("gemini", {"contents": [QUESTION, ANSWER], "systemInstruction": {"parts": [
            {"text": " "}]}}, "the system instruction has no text"),
        ("preference", scored(), NOT_TWO),
        ("preference", scored(1), NOT_TWO),
        ("preference", scored(1, 1.0), NOT_TWO),
        ("preference", scored(1, 0, 2), NOT_TWO),
        ("preference", scored(1, 0, worse=QUESTION), "an answer is not the model's"),
        ("preference", scored(1, 0, worse={"parts": [{"text": " "}]}), REJECTED),
        ("preference", scored(1, 0, worse={"parts": [RESPONSE]}),
         "a function's response is in an answer of the model"),
        ("preference", rated([SAID, SAID], [SAID]), SEVERAL),
        ("preference", rated([SAID], [SAID, SAID]), SEVERAL),
        ("preference", rated([SAID], [ASKED]), REJECTED),
        ("preference", rated([SAID], [SAID | {"content": " "}]), REJECTED),
        ("palm-chat", {"messages": [None]}, "it has not the fields of the format palm-chat"),
        ("palm-chat", {"messages": [{"author": "tool", "content": "q"}]},
         "messages[0]: an author is neither the user nor the assistant"),
    ],
)  # fmt: skip
def test_a_row_of_another_shape_is_refused(format, row, reason):
    with pytest.raises(DataError) as caught:
        example(row, format, 7)
    assert caught.value.found == f"the row is not of the format {format}: {reason}"
    assert caught.value.where == "line 7"


@pytest.mark.parametrize(
    ("parts", "bound", "left_out"),
    [
        ([{"text": "q"}], (), ()),
        ([RESPONSE, {"text": "q"}],
         ("a turn holds a function's response and something else",), ()),
        ([{"text": "hm", "thought": True}, {"text": "q"},
          {"text": "r", "thoughtSignature": "AAAA"}], (), ("thoughtSignature", "thoughts")),
    ],
)  # fmt: skip
def test_what_no_other_format_holds_is_named(parts, bound, left_out):
    call = {"role": "model", "parts": [{"functionCall": {"name": "f"}}]}
    turns = [QUESTION, call] if RESPONSE in parts else []
    read = parse({"contents": [*turns, {"role": "user", "parts": parts}, ANSWER]}, "gemini")
    assert (read.bound, read.left_out) == (bound, left_out)
    assert read.turns[-2].parts[-1]["text"] in "qr"


TOOLS = [{"type": "function", "function": {"name": "f"}}]
DECLARED = '[{"name":"f"}]'


@pytest.mark.parametrize(
    ("more", "turns", "expected"),
    [
        ({}, [ASKED], "q"),
        ({"tools": TOOLS}, [ASKED], f"q\x1e{DECLARED}"),
        ({"functions": [{"name": "f"}]}, [ASKED], f"q\x1e{DECLARED}"),
        ({}, [{"role": "system", "content": "s"}, ASKED, SAID, ASKED], "\x1ds\x1eq\x1ea\x1eq"),
        # A turn of a tool reads as the user's, and so the turns do not alternate.
        ({"tools": TOOLS}, [ASKED, CALLING, {"role": "tool", "tool_call_id": "1", "content": "3"},
                            ASKED],
         'user:q\x1eassistant:{"functionCall":{"args":{},"name":"f"}}\x1euser:3\x1euser:q\x1e'
         + DECLARED),
    ],
)  # fmt: skip
def test_rows_with_one_question_and_the_same_tools_have_one_input(more, turns, expected):
    row = {"messages": [*turns, SAID], **more}
    assert view(parse(row, "messages"), row, "messages") == (expected, "a")


def test_the_inputs_that_a_conversation_begins_with():
    system = {"role": "system", "content": "s"}
    row = {"messages": [system, ASKED, SAID, ASKED, SAID]}
    assert example(row, "messages").openings() == ["system: s\n\nuser: q"]
    assert example({"messages": [ASKED, SAID]}, "messages").openings() == []


def test_a_rejected_answer_is_read_and_no_other_row_has_one():
    assert example(rated([SAID], [SAID | {"content": "b"}]), "preference").rejected == "b"
    assert example({"messages": [ASKED, SAID]}, "messages").rejected == ""


def test_a_part_that_the_format_does_not_hold_is_told_of():
    system = {"role": "system", "content": [{"type": "text", "text": t} for t in "st"]}
    with pytest.raises(DataError, match="a turn has several parts, or one that is not text"):
        convert_row({"messages": [system, ASKED, SAID]}, "messages", "gemini")
    odd = conversations.Conversation("", (conversations.Turn("user", ({"functionCall": 3},)),) * 2)
    with pytest.raises(DataError, match="the format messages cannot hold a part of it"):
        conversations.write(odd, "messages")
