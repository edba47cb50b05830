"""The shape of a decoded row, format by format: fields, types, roles, and the order of turns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tunepipe.catalog.limits import Rules
from tunepipe.validation.problems import Finding
from tunepipe.validation.text_checks import text_findings

Findings = Iterator[Finding]

_NAMES = {dict: "an object", list: "a list", str: "a text", bool: "a truth value"}
_MODEL_PARTS = frozenset({"functionCall", "function_call", "executableCode", "executable_code"})
_RESPONSES = frozenset({"functionResponse", "function_response"})
_DATA = _MODEL_PARTS | _RESPONSES | {
    "text", "inlineData", "inline_data", "fileData", "file_data",
    "codeExecutionResult", "code_execution_result",
}  # fmt: skip


def shape_findings(row: Mapping[str, Any], rules: Rules) -> Findings:
    """Yield everything wrong with a row's fields, as its format has them."""
    match rules.format:
        case "palm":
            yield from _fields(row, rules.required, rules.optional)
            yield from _texts(row, rules.required)
        case "prompt-completion":
            yield from _fields(row, rules.required, rules.optional)
            yield from _prompt_completion(row, rules)
        case "palm-chat":
            yield from _fields(row, rules.required, rules.optional)
            yield from _texts(row, ("context",), may_be_empty=True)
            yield from _chat(row, rules)
        case "messages":
            yield from _fields(row, rules.required, rules.optional)
            yield from _messages(row.get("messages"), "messages", rules, "messages" in row)
            yield from _lists(row, ("tools", "functions"))
        case "gemini":
            yield from _fields(row, rules.required, rules.optional)
            yield from _gemini(row, rules)
        case _:
            yield from _preference(row, rules)


def order_findings(kinds: Sequence[str], fields: Sequence[str], last: str = "answer") -> Findings:
    """Yield each turn that stands where its kind may not.

    Args:
        kinds: Of each turn: "system", "question", "answer", "call" (an answer that calls a tool)
            or "result" (of a tool); "" for a turn whose kind is not known.
        fields: The path of each turn, for the finding.
        last: The kind that ends the row; a "call" ends it as an "answer" does.
    """
    before = ""
    for place, (kind, field) in enumerate(zip(kinds, fields, strict=True)):
        if wrong := _misplaced(kind, before, place):
            yield Finding("role-order", wrong, field)
        before = kind
    if before and before != last and not (before == "call" and last == "answer"):
        names = {"answer": "the model's", "question": "the user's"}
        yield Finding("role-order", f"the last turn is not {names[last]}", fields[-1])


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


def _fields(
    row: Mapping[str, Any], required: Sequence[str], optional: Sequence[str], at: str = ""
) -> Findings:
    missing = [name for name in required if name not in row]
    extra = [name for name in row if name not in required and name not in optional]
    for name in missing:
        yield Finding("missing-field", f"the field {name} is missing", _path(at, name))
    for name in extra:
        yield _extra(name, at, missing or [name for name in optional if name not in row])


def _extra(name: str, at: str, wanted: Sequence[str]) -> Finding:
    from difflib import get_close_matches

    shown = name if name.isidentifier() and name.isascii() and len(name) <= 40 else ""
    close = get_close_matches(name, wanted, 1, 0.75) if shown else []
    fix = f"rename {name} to {close[0]}" if close else ""
    message = f"the format has no field {shown}" if shown else "the format has no such field"
    return Finding("extra-field", message, _path(at, shown), fix)


def _texts(row: Mapping[str, Any], names: Sequence[str], may_be_empty: bool = False) -> Findings:
    for name in names:
        if name in row:
            yield from _text(row[name], name, may_be_empty)


def _text(value: Any, field: str, may_be_empty: bool = False) -> Findings:
    if isinstance(value, str):
        yield from text_findings(value, field, may_be_empty)
    else:
        yield _type(value, "a text", field)


def _type(value: Any, wanted: str, field: str) -> Finding:
    found = "null" if value is None else _NAMES.get(type(value), "a number")
    return Finding("wrong-type", f"{found} stands where {wanted} is wanted", field)


def _lists(row: Mapping[str, Any], names: Sequence[str]) -> Findings:
    for name in names:
        if name in row and not isinstance(row[name], list):
            yield _type(row[name], "a list", name)


def _role(value: Any, field: str, roles: Sequence[str]) -> Findings:
    if not isinstance(value, str):
        yield _type(value, "a text", field)
    elif value not in roles:
        yield Finding("unknown-role", f"the role is none of {', '.join(roles)}", field)


def _turns(value: Any, field: str) -> Iterator[Finding | tuple[str, Mapping[str, Any]]]:
    """Yield each turn with its path, or a finding where there is none."""
    if not isinstance(value, list):
        yield _type(value, "a list", field)
    elif not value:
        yield Finding("no-turns", "the list of turns is empty", field)
    else:
        for number, turn in enumerate(value):
            path = f"{field}[{number}]"
            yield (path, turn) if isinstance(turn, dict) else _type(turn, "an object", path)


def _prompt_completion(row: Mapping[str, Any], rules: Rules) -> Findings:
    prompt, completion = row.get("prompt"), row.get("completion")
    if not isinstance(prompt, list):
        yield from _texts(row, rules.required)
        return
    roles = ("system", "user", "assistant", "tool")
    yield from _messages(prompt, "prompt", rules, "prompt" in row, "question", roles)
    yield from _messages(completion, "completion", rules, "completion" in row, "", roles)


def _chat(row: Mapping[str, Any], rules: Rules) -> Findings:
    if "messages" not in row:
        return
    kinds, fields = [], []
    for turn in _turns(row["messages"], "messages"):
        if isinstance(turn, Finding):
            yield turn
            kinds.append("")
            fields.append(turn.field)
            continue
        path, message = turn
        yield from _fields(message, ("author", "content"), (), path)
        if "author" in message:
            yield from _role(message["author"], f"{path}.author", rules.roles)
        if "content" in message:
            yield from _text(message["content"], f"{path}.content")
        kinds.append(_kind(message.get("author"), rules.roles))
        fields.append(f"{path}.author")
    yield from order_findings(kinds, fields)


def _kind(role: Any, roles: Sequence[str], calls: bool = False, responds: bool = False) -> str:
    if not isinstance(role, str) or role not in roles:
        return ""
    if role in ("system", "developer"):
        return "system"
    if role in ("tool", "function") or responds:
        return "result"
    if role == "user":
        return "question"
    return "call" if calls else "answer"


def _messages(
    value: Any,
    field: str,
    rules: Rules,
    present: bool,
    last: str = "answer",
    roles: Sequence[str] = (),
) -> Findings:
    """Check a list of OpenAI messages; `last` is "" where the list is the answer alone."""
    if not present:
        return
    known = roles or rules.roles
    kinds, fields = [], []
    for turn in _turns(value, field):
        if isinstance(turn, Finding):
            yield turn
            kinds.append("")
            fields.append(turn.field)
            continue
        path, message = turn
        yield from _fields(message, ("role",), rules.message_fields, path)
        if "role" in message:
            yield from _role(message["role"], f"{path}.role", known)
        yield from _message(message, path)
        calls = bool(message.get("tool_calls") or message.get("function_call"))
        kinds.append(_kind(message.get("role"), known, calls))
        fields.append(f"{path}.role")
    if last:
        yield from order_findings(kinds, fields, last)
    elif any(kind not in ("answer", "call", "") for kind in kinds) or len(kinds) > 1:
        yield Finding("role-order", "the answer is not one turn of the model", field)


def _message(message: Mapping[str, Any], path: str) -> Findings:
    content, role = message.get("content"), message.get("role")
    wordless = any(message.get(key) for key in ("tool_calls", "function_call", "refusal", "audio"))
    if content is None and wordless and role in ("assistant", "model"):
        pass
    elif "content" not in message:
        yield Finding("missing-field", "the field content is missing", f"{path}.content")
    elif isinstance(content, list):
        yield from _openai_parts(content, f"{path}.content")
    else:
        yield from _text(content, f"{path}.content", wordless or role in ("tool", "function"))
    weight = message.get("weight", 1)
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        yield _type(weight, "0 or 1", f"{path}.weight")
    elif weight not in (0, 1):
        yield Finding("wrong-type", "the weight is neither 0 nor 1", f"{path}.weight")
    yield from _tool_calls(message, path)


def _tool_calls(message: Mapping[str, Any], path: str) -> Findings:
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        yield _type(calls, "a list", f"{path}.tool_calls")
        return
    for number, call in enumerate(calls):
        at = f"{path}.tool_calls[{number}]"
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            yield Finding("missing-field", "the call names no function", f"{at}.function")
        else:
            yield from _fields(function, ("name", "arguments"), (), f"{at}.function")
            for name in ("name", "arguments"):
                if name in function:
                    yield from _text(function[name], f"{at}.function.{name}")
    if message.get("role") == "tool" and not isinstance(message.get("tool_call_id"), str):
        yield Finding("missing-field", "the result names no call", f"{path}.tool_call_id")


def _openai_parts(parts: Sequence[Any], field: str) -> Findings:
    if not parts:
        yield Finding("empty-text", "the list of parts is empty", field)
    for number, part in enumerate(parts):
        path = f"{field}[{number}]"
        if not isinstance(part, dict):
            yield _type(part, "an object", path)
            continue
        kind = part.get("type")
        if not isinstance(kind, str):
            yield Finding("missing-field", "the part names no type", f"{path}.type")
        elif kind not in part:
            yield Finding("missing-field", "the part has no field of its type", path)
        elif kind == "text":
            yield from _text(part["text"], f"{path}.text")


def _gemini(row: Mapping[str, Any], rules: Rules, last: str = "answer") -> Findings:
    for name in ("systemInstruction", "system_instruction"):
        if name in row:
            yield from _system(row[name], name, rules)
    yield from _lists(row, ("tools",))
    if "contents" not in row:
        return
    roles, kinds, fields = rules.roles, [], []
    for turn in _turns(row["contents"], "contents"):
        if isinstance(turn, Finding):
            yield turn
            kinds.append("")
            fields.append(turn.field)
            continue
        path, content = turn
        yield from _content(content, path, roles, rules)
        keys = _part_keys(content)
        role = content.get("role")
        calls, responds = bool(keys & _MODEL_PARTS), bool(keys & _RESPONSES)
        kinds.append(_kind(role, roles, calls, responds and role == "user"))
        fields.append(f"{path}.role")
    yield from order_findings(kinds, fields, last)


def _system(value: Any, name: str, rules: Rules) -> Findings:
    if not isinstance(value, dict):
        yield _type(value, "an object", name)
        return
    yield from _fields(value, ("parts",), ("role",), name)
    if "parts" in value:
        yield from _gemini_parts(value["parts"], f"{name}.parts", rules)


def _content(content: Mapping[str, Any], path: str, roles: Sequence[str], rules: Rules) -> Findings:
    yield from _fields(content, ("role", "parts"), (), path)
    if "role" in content:
        yield from _role(content["role"], f"{path}.role", roles)
    if "parts" in content:
        yield from _gemini_parts(content["parts"], f"{path}.parts", rules)


def _part_keys(content: Mapping[str, Any]) -> set[str]:
    parts = content.get("parts")
    if not isinstance(parts, list):
        return set()
    return {key for part in parts if isinstance(part, dict) for key in part}


def _gemini_parts(parts: Any, field: str, rules: Rules) -> Findings:
    if not isinstance(parts, list):
        yield _type(parts, "a list", field)
        return
    if not parts:
        yield Finding("empty-text", "the list of parts is empty", field)
    for number, part in enumerate(parts):
        path = f"{field}[{number}]"
        if not isinstance(part, dict):
            yield _type(part, "an object", path)
        elif part:
            yield from _gemini_part(part, path, rules)
        else:
            yield Finding("missing-field", "the part holds no data", path)


def _gemini_part(part: Mapping[str, Any], path: str, rules: Rules) -> Findings:
    yield from _fields(part, (), rules.part_fields, path)
    data = [key for key in part if key in _DATA]
    if len(data) > 1:
        yield Finding("extra-field", "the part holds more than one kind of data", path)
    if "text" in part:
        yield from _text(part["text"], f"{path}.text")
    for key in data:
        if key != "text" and not isinstance(part[key], dict):
            yield _type(part[key], "an object", f"{path}.{key}")
        elif key in ("fileData", "file_data"):
            yield from _file_part(part[key], f"{path}.{key}")
        elif key in _RESPONSES | {"functionCall", "function_call"} and "name" not in part[key]:
            yield Finding("missing-field", "the function has no name", f"{path}.{key}.name")


def _file_part(data: Mapping[str, Any], path: str) -> Findings:
    for camel, snake in (("fileUri", "file_uri"), ("mimeType", "mime_type")):
        value = data.get(camel, data.get(snake))
        if value is None:
            yield Finding("missing-field", f"the field {camel} is missing", f"{path}.{camel}")
        else:
            yield from _text(value, f"{path}.{camel}")


def _preference(row: Mapping[str, Any], rules: Rules) -> Findings:
    if {"input", "preferred_output", "non_preferred_output"} & row.keys():
        yield from _openai_preference(row, rules)
        return
    yield from _fields(row, ("contents", "completions"), rules.optional)
    yield from _gemini(row, rules, "question")
    if "completions" in row:
        yield from _completions(row["completions"], rules)


def _openai_preference(row: Mapping[str, Any], rules: Rules) -> Findings:
    names = ("input", "preferred_output", "non_preferred_output")
    roles = ("system", "developer", "user", "assistant", "tool")
    yield from _fields(row, names, ())
    given = row.get("input")
    if isinstance(given, dict):
        yield from _fields(given, ("messages",), ("tools", "parallel_tool_calls"), "input")
        messages, present = given.get("messages"), "messages" in given
        yield from _messages(messages, "input.messages", rules, present, "question", roles)
    elif "input" in row:
        yield _type(given, "an object", "input")
    for name in names[1:]:
        yield from _messages(row.get(name), name, rules, name in row, "", roles)


def _completions(value: Any, rules: Rules) -> Findings:
    scores = []
    for turn in _turns(value, "completions"):
        if isinstance(turn, Finding):
            yield turn
            continue
        path, one = turn
        yield from _fields(one, ("score", "completion"), (), path)
        score = one.get("score", 0)
        if isinstance(score, bool) or not isinstance(score, int | float):
            yield _type(score, "a number", f"{path}.score")
        scores.append(score)
        if isinstance(one.get("completion"), dict):
            yield from _content(one["completion"], f"{path}.completion", ("model",), rules)
        elif "completion" in one:
            yield _type(one["completion"], "an object", f"{path}.completion")
    if scores and all(score == scores[0] for score in scores):
        message = "a preference needs two completions with different scores"
        yield Finding("missing-field", message, "completions")


def _path(at: str, name: str) -> str:
    return f"{at}.{name}" if at and name else at or name
