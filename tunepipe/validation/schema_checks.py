"""The shape of a decoded row, format by format: fields, types, roles, and the order of turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tunepipe.catalog.limits import Rules
from tunepipe.data.row_types import (
    TypeProblem,
    blank_message,
    camel,
    fields_of,
    row_problems,
    type_problems,
    wrong_type,
)
from tunepipe.data.turns import PART_KINDS, is_blank, numbered, shown_name
from tunepipe.validation.problems import Problem

Problems = Iterator[Problem]
Fields = Mapping[str, Any]

# How the formats name each other's roles; open models refuse "assistant" in contents.
_OTHER_ROLES = {"assistant": "model", "human": "user", "gpt": "assistant", "tool": "function"}
_OPENAI_ROLES = ("system", "developer", "user", "assistant", "model", "tool", "function")
# What other vendors call the two sides of a pair.
_SYNONYMS = {
    **dict.fromkeys(("question", "instruction", "query", "user", "context"), "prompt"),
    **dict.fromkeys(("response", "answer", "output", "target", "reply", "label"), "completion"),
}
_SYSTEM_FIX = "tunepipe convert IN OUT --to messages makes it the system turn"


def shape_problems(row: Fields, rules: Rules) -> Problems:
    """Yield everything wrong with a row's fields, as its format has them."""
    for problem in row_problems(row, rules.format):
        is_system = problem.code == "extra-field" and not problem.field and problem.name == "system"
        is_read = is_system and rules.format in ("messages", "prompt-completion")
        yield replace(_of_type(problem), fix=_SYSTEM_FIX) if is_read else _of_type(problem)
    match rules.format:
        case "prompt-completion":
            yield from _messages(row.get("prompt"), "prompt", _OPENAI_ROLES, "question")
            yield from _messages(row.get("completion"), "completion", _OPENAI_ROLES, "")
        case "palm-chat":
            yield from _turns(row.get("messages"), "messages", rules.roles, role="author")
        case "messages":
            yield from _messages(row.get("messages"), "messages", rules.roles)
        case "gemini":
            yield from _gemini(row, rules.roles)
        case "preference" if isinstance(row.get("input"), dict):
            asked = row["input"].get("messages")
            yield from _messages(asked, "input.messages", _OPENAI_ROLES, "question")
            for name in ("preferred_output", "non_preferred_output"):
                yield from _messages(row.get(name), name, _OPENAI_ROLES, "")
        case "preference":
            yield from _gemini(row, rules.roles, "question")
            yield from _completions(row.get("completions"))


def order_problems(kinds: Sequence[str], fields: Sequence[str], last: str = "answer") -> Problems:
    """Yield each turn whose kind is not allowed at its place.

    A kind is "system", "question", "answer", "call" (an answer that calls a tool), "result" (of a
    tool), or "" if it is not known. The `last` ends the row; a "call" ends it as an "answer" does,
    and a "result" as a "question" does.
    """
    before = ""
    for place, (kind, field) in enumerate(zip(kinds, fields, strict=True)):
        if wrong := _misplaced(kind, before, place):
            yield Problem("role-order", wrong, field)
        before = kind
    ends = {"call": "answer", "result": "question"}
    if before and last not in (before, ends.get(before)):
        names = {"answer": "the model's", "question": "the user's"}
        yield Problem("role-order", f"the last turn is not {names[last]}", fields[-1])


def _misplaced(kind: str, before: str, place: int) -> str:
    opened = place == 0 or before == "system"
    if not kind or (not before and place):
        return ""
    if kind == "system":
        return "the system turn is not the first" if place else ""
    if opened:
        return "" if kind == "question" else "the conversation does not begin with the user"
    if before == "call":
        return "" if kind == "result" else "a tool call is not followed by its result"
    if kind == "result":
        return "" if before == "result" else "a tool's result follows no tool call"
    if kind == "question" and before in ("question", "result"):
        return "the user's turn follows another of the user's or a tool's"
    if kind in ("answer", "call") and before == "answer":
        return "two turns of the model in a row"
    return ""


def _of_type(problem: TypeProblem) -> Problem:
    """Return the problem for a value that does not fit its type."""
    if problem.code != "extra-field":
        fix = "encode the file's bytes as base64" if problem.message.endswith("base64") else ""
        return Problem(problem.code, problem.message, problem.field, fix)
    from difflib import get_close_matches

    name, known = problem.name, problem.known
    shown = shown_name(name)
    close = get_close_matches(name, known, 1, 0.75) if shown else []
    if not close and _SYNONYMS.get(shown) in known:
        close = [_SYNONYMS[shown]]
    fix = f"rename {name} to {close[0]}" if close else ""
    return Problem(
        "extra-field", problem.message, ".".join(filter(None, (problem.field, shown))), fix
    )


def _turns(
    value: Any,
    field: str,
    roles: Sequence[str],
    check: Callable[[Fields, str], Problems] = lambda turn, path: iter(()),
    last: str = "answer",
    role: str = "role",
) -> Problems:
    """Check each turn of a list at a path (`field`), and their order; types were checked before.

    The `last` is "" if the list is the answer alone; see `order_problems`. A turn names its role in
    the field `role`.
    """
    if not isinstance(value, list):
        return
    if not value:
        yield Problem("no-turns", "the list of turns is empty", field)
    kinds = []
    for path, turn in numbered(value, field):
        kinds.append("")
        if not isinstance(turn, dict):
            continue
        name = turn.get(role, "user" if field == "contents" else None)
        if isinstance(name, str) and name not in roles:
            yield _unknown_role(name, f"{path}.{role}", roles)
        elif isinstance(name, str):
            kinds[-1] = _kind(name, turn if role == "role" else {})  # PaLM calls no tools
        yield from check(turn, path)
    if last:
        fields = [f"{path}.{role}" for path, _ in numbered(value, field)]
        yield from order_problems(kinds, fields, last)
    elif any(kind not in ("answer", "call", "") for kind in kinds) or len(kinds) > 1:
        yield Problem("role-order", "the answer is not one turn of the model", field)


def _unknown_role(role: str, field: str, roles: Sequence[str]) -> Problem:
    other = _OTHER_ROLES.get(role, "")
    fix = f'write "{other}"' if other in roles else ""
    return Problem("unknown-role", f"the role is none of {', '.join(roles)}", field, fix)


def _kind(role: str, turn: Fields) -> str:
    if role in ("system", "developer"):
        return "system"
    parts = _kinds_of(turn)
    if role in ("tool", "function") or (role == "user" and "functionResponse" in parts):
        return "result"
    if role == "user":
        return "question"
    if "parts" in turn:
        return "call" if parts & {"functionCall", "executableCode"} else "answer"
    return "call" if turn.get("tool_calls") or turn.get("function_call") else "answer"


def _messages(value: Any, field: str, roles: Sequence[str], last: str = "answer") -> Problems:
    """Check a list of OpenAI messages; `last` is "" if the list is the answer alone."""
    return _turns(value, field, roles, _message, last)


def _message(message: Fields, path: str) -> Problems:
    content, role, at = message.get("content"), message.get("role"), f"{path}.content"
    wordless = any(message.get(key) for key in ("tool_calls", "function_call", "refusal", "audio"))
    if isinstance(content, list):
        yield from _openai_parts(content, at)
    elif isinstance(content, str):
        if is_blank(content) and not (wordless or role in ("tool", "function")):
            yield Problem("empty-text", blank_message(content), at)
    elif content is not None:
        yield Problem("wrong-type", wrong_type(content, "a text", at).message, at)
    elif not (wordless and role in ("assistant", "model")):
        yield Problem("missing-field", "the field content is missing", at)
    weight = message.get("weight", 1)
    if isinstance(weight, int | float) and weight not in (0, 1):
        yield Problem("wrong-type", "the weight is neither 0 nor 1", f"{path}.weight")
    if role == "tool" and "tool_call_id" not in message:
        yield Problem("missing-field", "the result names no call", f"{path}.tool_call_id")


def _openai_parts(parts: Sequence[Any], field: str) -> Problems:
    if not parts:
        yield Problem("empty-text", "the list of parts is empty", field)
    texts: list[tuple[str, str]] = []
    for path, part in numbered(parts, field):
        kind = part.get("type") if isinstance(part, dict) else ""
        if not isinstance(part, dict):
            yield Problem("wrong-type", wrong_type(part, "an object", path).message, path)
        elif not isinstance(kind, str):
            yield Problem("missing-field", "the part names no type", f"{path}.type")
        elif kind not in part:
            yield Problem("missing-field", "the part has no field of its type", path)
        elif kind == "text":
            yield from map(_of_type, type_problems(part["text"], "string", f"{path}.text"))
            texts.append((f"{path}.text", str(part["text"])))
        elif kind == "image_url":
            problems = type_problems(part["image_url"], "ImageUrl", f"{path}.image_url")
            yield from map(_of_type, problems)
    yield from _blank_problems(texts, len(texts) < len(parts))


def _gemini(row: Fields, roles: Sequence[str], last: str = "answer") -> Problems:
    for name in ("systemInstruction", "system_instruction"):
        if isinstance(row.get(name), dict):
            yield from _gemini_parts(row[name].get("parts"), f"{name}.parts")
    yield from _turns(row.get("contents"), "contents", roles, _content, last)


def _content(content: Fields, path: str) -> Problems:
    yield from _gemini_parts(content.get("parts"), f"{path}.parts")
    if content.get("role", "user") == "user" and "functionCall" in _kinds_of(content):
        yield Problem("role-order", "a function call is in a turn of the user", path)


def _kinds_of(content: Fields) -> set[str]:
    parts = content.get("parts")
    if not isinstance(parts, list):
        return set()
    return {camel(key) for part in parts if isinstance(part, dict) for key in part}


def _gemini_parts(parts: Any, field: str) -> Problems:
    if not isinstance(parts, list):
        return
    if not parts:
        yield Problem("empty-text", "the list of parts is empty", field)
    texts: list[tuple[str, str]] = []
    has_data = thinks = False
    for path, part in numbered(parts, field):
        if not isinstance(part, dict):
            continue
        names = set(map(camel, part))
        data = names & PART_KINDS
        has_data |= data not in ({"text"}, set())
        if not data and names <= fields_of("Part"):
            yield Problem("missing-field", "the part holds no data", path)
        if len(data) > 1:
            yield Problem("extra-field", "the part holds more than one kind of data", path)
        if isinstance(part.get("text"), str):
            if part.get("thought") is True:
                thinks = True
            else:
                texts.append((f"{path}.text", part["text"]))
    if thinks and not (texts or has_data):
        yield Problem("empty-text", "the turn holds thoughts alone", field)
    yield from _blank_problems(texts, has_data)


def _blank_problems(texts: Sequence[tuple[str, str]], has_data: bool) -> Problems:
    """Check the texts of one turn: together, or with a file or a call, they must say something."""
    has_words = not all(is_blank(text) for _, text in texts)
    for field, text in texts:
        if has_words or has_data:
            if not text or not (has_words or text.strip()):
                yield Problem("empty-text", "the text is empty", field, level="warning")
        else:
            yield Problem("empty-text", blank_message(text), field)


def _completions(value: Any) -> Problems:
    scores = []
    for path, item in numbered(value if isinstance(value, list) else (), "completions"):
        if not isinstance(item, dict):
            continue
        scores.append(item.get("score", 0))
        completion, at = item.get("completion"), f"{path}.completion"
        if isinstance(completion, dict):
            yield from _gemini_parts(completion.get("parts"), f"{at}.parts")
            role = completion.get("role", "model")
            if role != "model" and isinstance(role, str):
                yield _unknown_role(role, f"{at}.role", ("model",))
            if "functionResponse" in _kinds_of(completion):
                message = "a function's response is in an answer of the model"
                yield Problem("role-order", message, at)
    if value == []:
        yield Problem("no-turns", "the list of turns is empty", "completions")
    elif len(scores) > 2:
        yield Problem("wrong-type", f"there are {len(scores)} completions, not two", "completions")
    elif scores and all(score == scores[0] for score in scores):
        message = "a preference needs two completions with different scores"
        yield Problem("missing-field", message, "completions")
    elif any(score not in (0, 1) for score in scores):
        message = "the scores are not 1 for the preferred answer and 0 for the other"
        yield Problem("wrong-type", message, "completions", "write 1 and 0", "warning")
