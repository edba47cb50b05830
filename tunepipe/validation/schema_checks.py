"""The shape of a decoded row, format by format: fields, types, roles, and the order of turns."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tunepipe.catalog.limits import Rules
from tunepipe.data.gemini_types import camel, fields_of, type_problems, wrong_type
from tunepipe.data.turns import is_blank
from tunepipe.validation.problems import Finding
from tunepipe.validation.text_checks import blank_message, text_findings

Findings = Iterator[Finding]

_MODEL_PARTS = frozenset({"functionCall", "function_call", "executableCode", "executable_code"})
_CALLS = frozenset({"functionCall", "function_call"})
_RESPONSES = frozenset({"functionResponse", "function_response"})
_DATA = _MODEL_PARTS | _RESPONSES | {
    "text", "inlineData", "inline_data", "fileData", "file_data",
    "codeExecutionResult", "code_execution_result",
}  # fmt: skip
_GEMINI_FIELDS = {"tools": "Tool[]", "toolConfig": "ToolConfig", "generationConfig": "object"}
_FUNCTION_FIELDS = ("description", "parameters", "strict")
# How the formats name each other's roles; open models refuse "assistant" in contents.
_OTHER_ROLES = {"assistant": "model", "human": "user", "gpt": "assistant", "tool": "function"}
# What other vendors call the two sides of a pair.
_SYNONYMS = {
    **dict.fromkeys(("question", "instruction", "query", "user", "context"), "prompt"),
    **dict.fromkeys(("response", "answer", "output", "target", "reply", "label"), "completion"),
}


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
            yield from _tools(row)
        case "gemini":
            yield from _fields(row, rules.required, rules.optional)
            yield from _gemini(row, rules)
        case _:
            yield from _preference(row, rules)


def order_findings(kinds: Sequence[str], fields: Sequence[str], last: str = "answer") -> Findings:
    """Yield each turn whose kind is not allowed at its place.

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
    extra = [
        name
        for name in row
        if name not in required and name not in optional and row[name] not in ([], {})
    ]
    for name in missing:
        yield Finding("missing-field", f"the field {name} is missing", _path(at, name))
    for name in extra:
        yield _extra(name, at, missing or [name for name in optional if name not in row])


def _extra(name: str, at: str, wanted: Sequence[str]) -> Finding:
    from difflib import get_close_matches

    shown = name if name.isidentifier() and name.isascii() and len(name) <= 40 else ""
    close = get_close_matches(name, wanted, 1, 0.75) if shown else []
    if not close and _SYNONYMS.get(shown) in wanted:
        close = [_SYNONYMS[shown]]
    fix = f"rename {name} to {close[0]}" if close else ""
    message = f"the format has no field {shown}" if shown else "the format does not have this field"
    return Finding("extra-field", message, _path(at, shown), fix)


def _texts(
    row: Mapping[str, Any], names: Sequence[str], may_be_empty: bool = False, at: str = ""
) -> Findings:
    for name in names:
        if name in row:
            yield from _text(row[name], _path(at, name), may_be_empty)


def _text(value: Any, field: str, may_be_empty: bool = False) -> Findings:
    if isinstance(value, str):
        yield from text_findings(value, field, may_be_empty)
    else:
        yield _type(value, "a text", field)


def _type(value: Any, wanted: str, field: str) -> Finding:
    return Finding("wrong-type", wrong_type(value, wanted, field).message, field)


def _lists(row: Mapping[str, Any], names: Sequence[str]) -> Findings:
    for name in names:
        if name in row and not isinstance(row[name], list):
            yield _type(row[name], "a list", name)


def _tools(row: Mapping[str, Any]) -> Findings:
    yield from _lists(row, ("tools", "functions"))
    for name in ("tools", "functions"):
        tools = row.get(name)
        for number, tool in enumerate(tools if isinstance(tools, list) else ()):
            path = f"{name}[{number}]"
            if not isinstance(tool, dict):
                yield _type(tool, "an object", path)
                continue
            function = tool if name == "functions" else tool.get("function")
            if not isinstance(function, dict):
                fix = 'write {"type": "function", "function": {"name": ...}}'
                yield Finding("missing-field", "the field function is missing", path, fix)
            elif name == "tools" and tool.get("type") != "function":
                message = 'the type of the tool is not "function"'
                yield Finding("wrong-type", message, f"{path}.type", 'write "type": "function"')
            else:
                at = path if name == "functions" else f"{path}.function"
                yield from _fields(function, ("name",), _FUNCTION_FIELDS, at)
                yield from _texts(function, ("name",), at=at)
                yield from _texts(function, ("description",), may_be_empty=True, at=at)
                if not isinstance(function.get("parameters", {}), dict):
                    yield _type(function["parameters"], "an object", f"{at}.parameters")


def _role(value: Any, field: str, roles: Sequence[str]) -> Findings:
    if not isinstance(value, str):
        yield _type(value, "a text", field)
    elif value not in roles:
        other = _OTHER_ROLES.get(value, "")
        fix = f'write "{other}"' if other in roles else ""
        yield Finding("unknown-role", f"the role is none of {', '.join(roles)}", field, fix)


def _turns(value: Any, field: str) -> Iterator[Finding | tuple[str, Mapping[str, Any]]]:
    """Yield each turn with its path, or a finding if there is none."""
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


def _conversation(
    value: Any,
    field: str,
    check: Callable[[Mapping[str, Any], str], Findings],
    kind: Callable[[Mapping[str, Any]], str],
    last: str = "answer",
    role: str = "role",
) -> Findings:
    """Check each turn of a list, and their order.

    Args:
        value: The list.
        field: Its path.
        check: Checks one turn, at its path.
        kind: Returns the kind of a turn; see `order_findings`.
        last: The kind that ends the list; "" if the list is the answer alone.
        role: The field of a turn that names its role.
    """
    kinds, fields = [], []
    for turn in _turns(value, field):
        if isinstance(turn, Finding):
            yield turn
            kinds.append("")
            fields.append(turn.field)
        else:
            path, message = turn
            yield from check(message, path)
            kinds.append(kind(message))
            fields.append(f"{path}.{role}")
    if last:
        yield from order_findings(kinds, fields, last)
    elif any(kind not in ("answer", "call", "") for kind in kinds) or len(kinds) > 1:
        yield Finding("role-order", "the answer is not one turn of the model", field)


def _chat(row: Mapping[str, Any], rules: Rules) -> Findings:
    def check(message: Mapping[str, Any], path: str) -> Findings:
        yield from _fields(message, ("author", "content"), (), path)
        if "author" in message:
            yield from _role(message["author"], f"{path}.author", rules.roles)
        yield from _texts(message, ("content",), at=path)

    def kind(message: Mapping[str, Any]) -> str:
        return _kind(message.get("author"), rules.roles)

    if "messages" in row:
        yield from _conversation(row["messages"], "messages", check, kind, role="author")


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
    """Check a list of OpenAI messages; `last` is "" if the list is the answer alone."""
    known = roles or rules.roles

    def check(message: Mapping[str, Any], path: str) -> Findings:
        yield from _fields(message, ("role",), rules.message_fields, path)
        if "role" in message:
            yield from _role(message["role"], f"{path}.role", known)
        yield from _message(message, path)

    def kind(message: Mapping[str, Any]) -> str:
        calls = bool(message.get("tool_calls") or message.get("function_call"))
        return _kind(message.get("role"), known, calls)

    if present:
        yield from _conversation(value, field, check, kind, last)


def _message(message: Mapping[str, Any], path: str) -> Findings:
    content, role = message.get("content"), message.get("role")
    yield from _texts(message, ("name", "refusal"), at=path)
    if not isinstance(message.get("audio", {}), dict):
        yield _type(message["audio"], "an object", f"{path}.audio")
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
    if "function_call" in message:
        call, at = message["function_call"], f"{path}.function_call"
        if isinstance(call, dict):
            yield from _fields(call, ("name", "arguments"), (), at)
            yield from _texts(call, ("name",), at=at)
            yield from _texts(call, ("arguments",), may_be_empty=True, at=at)
            yield from _arguments(call.get("arguments"), f"{at}.arguments")
        else:
            yield _type(call, "an object", at)
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        yield _type(calls, "a list", f"{path}.tool_calls")
        return
    for number, call in enumerate(calls):
        at = f"{path}.tool_calls[{number}]"
        if isinstance(call, dict) and not isinstance(call.get("id"), str):
            yield Finding("missing-field", "the field id is missing", f"{at}.id")
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            yield Finding("missing-field", "the call names no function", f"{at}.function")
        else:
            yield from _fields(function, ("name", "arguments"), (), f"{at}.function")
            for name in ("name", "arguments"):
                if name in function:
                    yield from _text(function[name], f"{at}.function.{name}", name != "name")
            yield from _arguments(function.get("arguments"), f"{at}.function.arguments")
    if message.get("role") == "tool" and not isinstance(message.get("tool_call_id"), str):
        yield Finding("missing-field", "the result names no call", f"{path}.tool_call_id")


def _arguments(value: Any, path: str) -> Findings:
    """Check the arguments of a call: a text that holds a JSON object."""
    if not isinstance(value, str) or not value:
        return
    try:
        arguments = json.loads(value)
    except (ValueError, RecursionError):
        yield Finding("wrong-type", "the arguments are not JSON", path, "write a JSON object")
        return
    if not isinstance(arguments, dict):
        yield Finding("wrong-type", "the arguments are not a JSON object", path)


def _openai_parts(parts: Sequence[Any], field: str) -> Findings:
    if not parts:
        yield Finding("empty-text", "the list of parts is empty", field)
    texts: list[tuple[str, str]] = []
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
            yield from _text(part["text"], f"{path}.text", may_be_empty=True)
            texts.append((f"{path}.text", str(part["text"])))
        elif kind == "image_url":
            yield from _picture(part["image_url"], f"{path}.image_url")
    yield from _blank_findings(texts, len(texts) < len(parts))


def _picture(value: Any, path: str) -> Findings:
    if not isinstance(value, dict):
        yield _type(value, 'an object with the field "url"', path)
    elif "url" not in value:
        yield Finding("missing-field", "the field url is missing", f"{path}.url")
    else:
        yield from _text(value["url"], f"{path}.url")


def _gemini(row: Mapping[str, Any], rules: Rules, last: str = "answer") -> Findings:
    for name in ("systemInstruction", "system_instruction"):
        if name in row:
            yield from _content(row[name], name, None)
    for name, type_name in _GEMINI_FIELDS.items():
        for spelling in dict.fromkeys((name, _snake(name))):
            if spelling in row:
                yield from typed_findings(row[spelling], type_name, spelling)

    def check(content: Mapping[str, Any], path: str) -> Findings:
        yield from _content(content, path, rules.roles)
        if content.get("role", "user") == "user" and _part_keys(content) & _CALLS:
            yield Finding("role-order", "a function call is in a turn of the user", path)

    def kind(content: Mapping[str, Any]) -> str:
        role, keys = content.get("role", "user"), _part_keys(content)
        responds = role == "user" and bool(keys & _RESPONSES)
        return _kind(role, rules.roles, bool(keys & _MODEL_PARTS), responds)

    if "contents" in row:
        yield from _conversation(row["contents"], "contents", check, kind, last)


def _content(content: Any, path: str, roles: Sequence[str] | None) -> Findings:
    """Check a turn; `roles` is None for a system instruction, whose role says nothing."""
    if not isinstance(content, dict):
        yield _type(content, "an object", path)
        return
    yield from _fields(content, ("parts",), ("role",), path)
    if "role" in content and roles is not None:
        yield from _role(content["role"], f"{path}.role", roles)
    if "parts" in content:
        yield from _gemini_parts(content["parts"], f"{path}.parts")


def _part_keys(content: Mapping[str, Any]) -> set[str]:
    parts = content.get("parts")
    if not isinstance(parts, list):
        return set()
    return {key for part in parts if isinstance(part, dict) for key in part}


def _gemini_parts(parts: Any, field: str) -> Findings:
    if not isinstance(parts, list):
        yield _type(parts, "a list", field)
        return
    if not parts:
        yield Finding("empty-text", "the list of parts is empty", field)
    texts: list[tuple[str, str]] = []
    has_data = thinks = False
    for number, part in enumerate(parts):
        path = f"{field}[{number}]"
        yield from typed_findings(part, "Part", path)
        if not isinstance(part, dict):
            continue
        data = [key for key in part if key in _DATA]
        has_data |= data not in (["text"], [])
        if not data and all(camel(key) in fields_of("Part") for key in part):
            yield Finding("missing-field", "the part holds no data", path)
        if len(data) > 1:
            yield Finding("extra-field", "the part holds more than one kind of data", path)
        if isinstance(part.get("text"), str):
            if part.get("thought") is True:
                thinks = True
            else:
                texts.append((f"{path}.text", part["text"]))
            yield from text_findings(part["text"], f"{path}.text", may_be_empty=True)
    if thinks and not (texts or has_data):
        yield Finding("empty-text", "the turn holds thoughts alone", field)
    yield from _blank_findings(texts, has_data)


def _blank_findings(texts: Sequence[tuple[str, str]], has_data: bool) -> Findings:
    """Check the texts of one turn: together, or with a file or a call, they must say something."""
    has_words = not all(is_blank(text) for _, text in texts)
    for field, text in texts:
        if has_words or has_data:
            if not text or not (has_words or text.strip()):
                yield Finding("empty-text", "the text is empty", field, level="warning")
        else:
            yield Finding("empty-text", blank_message(text), field)


def typed_findings(value: Any, kind: str, path: str) -> Findings:
    """Check a value against one of Gemini's types."""
    for problem in type_problems(value, kind, path):
        if problem.code == "extra-field":
            yield _extra(problem.name, problem.field, problem.known)
        else:
            base64 = problem.message.endswith("base64")
            fix = "encode the file's bytes as base64" if base64 else ""
            yield Finding(problem.code, problem.message, problem.field, fix)


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name)


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
        yield from _tools(given)
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
            yield from _content(one["completion"], f"{path}.completion", ("model",))
            if _part_keys(one["completion"]) & _RESPONSES:
                message = "a function's response is in an answer of the model"
                yield Finding("role-order", message, f"{path}.completion")
        elif "completion" in one:
            yield _type(one["completion"], "an object", f"{path}.completion")
    if len(scores) > 2:
        yield Finding("wrong-type", f"there are {len(scores)} completions, not two", "completions")
    elif scores and all(score == scores[0] for score in scores):
        message = "a preference needs two completions with different scores"
        yield Finding("missing-field", message, "completions")
    elif any(score not in (0, 1) for score in scores):
        message = "the scores are not 1 for the preferred answer and 0 for the other"
        yield Finding("wrong-type", message, "completions", "write 1 and 0", "warning")


def _path(at: str, name: str) -> str:
    return f"{at}.{name}" if at and name else at or name
