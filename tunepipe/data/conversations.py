"""A row of any format as one conversation: read, written in another format, or taken as texts.

In between a turn holds parts in Gemini's shape: text, a function call, its response, a file by URI
or inline. What only the row's own format can hold is named, and what another format has no place
for is refused with its reason, so that nothing is flattened or dropped silently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any, NamedTuple

from tunepipe.catalog.tables import load
from tunepipe.data import openai_messages
from tunepipe.data.formats import canonical, check_format, detect_format
from tunepipe.data.row_types import camel, fields_of, row_problems, row_type
from tunepipe.data.text_pairs import TURN_MARK, joined
from tunepipe.data.turns import (
    PART_KINDS,
    Part,
    RowError,
    Turn,
    is_blank,
    just_text,
    numbered,
    refusal,
    side_of,
    text,
)
from tunepipe.errors import DataError

Row = dict[str, Any]

# Under these a null is a value of the user's, not a field that is absent.
_FREE_FORM = frozenset(
    ("args", "response", "parameters", "parametersJsonSchema", "parameters_json_schema")
)
_BINDING = {"toolConfig", "tool_config", "tool_choice", "function_call", "response_format"}
# Of a function's response, what each format has a place for.
_ANSWERED = {"id", "name", "response"}
_BORDER = "the border between turns of one role"
# The fields of rows of plain text, the list of their turns, and the fields of a turn.
_PLAIN: dict[str, tuple[set[str], str, set[str]]] = {
    "palm": ({"input_text", "output_text"}, "", set()),
    "prompt-completion": ({"prompt", "completion"}, "", set()),
    "palm-chat": ({"messages", "context"}, "messages", {"author", "content"}),
    "messages": ({"messages", "labels"}, "messages", {"role", "content"}),
    "gemini": ({"contents", "labels"}, "contents", {"role", "parts"}),
}


@dataclass(frozen=True)
class Conversation:
    """The content of a row; the last of its turns is the assistant's answer.

    Args:
        system: The system instruction; "" for none.
        turns: The turns of user, assistant and tool.
        tools: The functions declared, in Gemini's shape; see `with_tools`.
        rejected: The rejected answer of a preference row.
        left_out: What no other format has a place for, by name: thoughts, settings of parts.
        bound: Why no other format can hold the row; empty where one can.
    """

    system: str
    turns: tuple[Turn, ...]
    tools: tuple[Row, ...] = ()
    rejected: Turn | None = None
    left_out: tuple[str, ...] = ()
    bound: tuple[str, ...] = field(default=(), compare=False)

    def texts(self) -> tuple[list[dict[str, str]], str]:
        """Return the prompt, turn by turn, and the answer; what a tool said is the user's."""
        prompt = [{"role": "system", "content": self.system}] if self.system else []
        *turns, answer = self.turns
        for turn in turns:
            role = "user" if turn.role == "tool" else turn.role
            prompt.append({"role": role, "content": turn.text()})
        return prompt, answer.text()


@dataclass
class Example:
    """One training row, whatever its format.

    Args:
        line: Its line in the file, counted from 1; 0 if there is no file.
        messages: The prompt as {"role", "content"}; the roles are system, user and assistant.
        reference: The right answer: the last assistant turn.
        rejected: The rejected answer of a preference row; "" in other rows.
        fields: The row as decoded, for models that take more than text.
        format: The row's format.
        repeat: How often its file has shown the row so far, itself included.
    """

    line: int
    messages: tuple[Mapping[str, str], ...]
    reference: str
    rejected: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    format: str = ""
    repeat: int = 1

    @cached_property
    def hash(self) -> str:
        """16 hex digits made from the prompt and the reference."""
        import xxhash

        identity = canonical([self.messages, self.reference]).encode("utf-8", "surrogatepass")
        return xxhash.xxh3_64_hexdigest(identity)

    @property
    def id(self) -> str:
        """The hash; "-2", "-3"... follow on repeats."""
        return f"{self.hash}-{self.repeat}" if self.repeat > 1 else self.hash

    @property
    def input(self) -> str:
        """The prompt as one text: a lone question as it is, else each turn after its role."""
        return _prompt_text(self.messages)

    def openings(self) -> list[str]:
        """Return the inputs that a conversation begins with: it trains on their answers too."""
        ends = [n for n, turn in enumerate(self.messages) if turn["role"] == "assistant"]
        return [_prompt_text(self.messages[:end]) for end in ends]


def example(row: Mapping[str, Any], format: str, line: int = 0) -> Example:
    """Read one row, as decoded from JSON, of one of formats.FORMATS.

    Raises:
        DataError: The row is not of that format; the line is named.
    """
    conversation = read(row, format, line)
    prompt, reference = conversation.texts()
    rejected = conversation.rejected.text() if conversation.rejected else ""
    return Example(line, tuple(prompt), reference, rejected, row, format)


def _prompt_text(turns: Sequence[Mapping[str, str]]) -> str:
    if len(turns) == 1:
        return turns[0]["content"]
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)


def view(conversation: Conversation, row: Mapping[str, Any], format: str) -> tuple[str, str]:
    """Return the input and the output of a row that has no error.

    Two rows with the same question have the same input, however they are written: a lone
    question is its own text, and turns that alternate need no roles.
    """
    turns, output = conversation.texts()
    extra = ""
    if row.get("tools") or row.get("functions"):
        extra = TURN_MARK + canonical(with_tools(conversation, row, format)[0].tools)
    spoken = turns[bool(conversation.system) :]
    if any(turn["role"] != ("user", "assistant")[n % 2] for n, turn in enumerate(spoken)):
        return TURN_MARK.join(f"{turn['role']}:{turn['content']}" for turn in turns) + extra, output
    system = conversation.system or None
    return joined(system, [turn["content"] for turn in spoken]) + extra, output


def read(row: Mapping[str, Any], format: str, line: int = 0) -> Conversation:
    """Read a row; see `example`."""
    try:
        conversation = _typed(row, format)
        if _BORDER in conversation.left_out:
            raise RowError("two turns of one role follow each other", "role-order")
    except RowError as error:
        raise DataError(
            f"the row is not of the format {format}: {error.located}",
            where=f"line {line}" if line else "",
            fix="run tunepipe validate on the file: it lists every problem",
        ) from error
    return conversation


def _typed(row: Mapping[str, Any], format: str) -> Conversation:
    """Check the types of a row and read it; fields that its format lacks are ignored."""
    if _is_plain(row, format):
        return parse(row, format)
    if detect_format(row) != format:
        raise RowError(f"it has not the fields of the format {format}", "mixed-formats")
    for problem in row_problems(row, format):
        if problem.code != "extra-field" or problem.field:
            is_missing = problem.code == "missing-field"
            reason = " is missing" if is_missing else f": {problem.message}"
            raise RowError(problem.field + reason, problem.code, problem.field)
    return parse(row, format)


def _is_plain(row: Mapping[str, Any], format: str) -> bool:
    """Return True if a row holds no more than turns of one text: reading checks all its types."""
    if format not in _PLAIN:
        return False
    fields, name, texts = _PLAIN[format]
    if not row.keys() <= fields:
        return False
    if not name:
        return len(row) == len(fields) and all(isinstance(value, str) for value in row.values())
    turns = row.get(name)
    if not isinstance(turns, list):
        return False
    for turn in turns:
        if not isinstance(turn, dict) or turn.keys() != texts:
            return False
        said = turn.get("content") or turn.get("parts")
        if isinstance(said, list) and not (len(said) == 1 and _is_text(said[0])):
            return False
        if "parts" in turn and not isinstance(said, list):
            return False
    return True


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.keys() == {"text"}


def parse(row: Mapping[str, Any], format: str) -> Conversation:
    """Read a row whose fields have the types of its format, or raise RowError."""
    source = _Source(row)
    try:
        turns = _FORMATS[check_format(format)].read(source)
    except RowError:
        raise
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise RowError("a field is missing, or has another type", "wrong-type") from error
    system = ""
    if turns and turns[0].role == "system":
        first, *turns = turns
        system = first.text()
        if is_blank(system):
            raise RowError("the system instruction has no text")
        if not first.is_text:
            source.bound.append("a turn has several parts, or one that is not text")
    merged = _checked(turns)
    rejected = source.rejected
    if rejected and (rejected.role != "assistant" or _has_no_text(rejected)):
        raise RowError("the rejected answer is not the assistant's, or has no text")
    if len(merged) < len(turns):
        source.dropped.add(_BORDER)
    left_out = tuple(sorted(source.dropped))
    return Conversation(system, tuple(merged), (), rejected, left_out, tuple(source.bound))


def write(conversation: Conversation, format: str) -> Row:
    """Write a conversation as a row; what the format has no place for is a DataError."""
    if conversation.bound:
        raise refusal(conversation.bound[0])
    try:
        return _FORMATS[format].write(conversation)
    except DataError:
        raise
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise refusal(f"the format {format} cannot hold a part of it") from error


def convert_row(row: Mapping[str, Any], format: str, to: str) -> tuple[Row, tuple[str, ...]]:
    """Convert one row; return it in the other format, and the names of what that has no place for.

    Raises:
        DataError: The row is not of its format, or the other has no place for what it says.
    """
    clean = without_nulls(row)
    try:
        conversation = _typed(clean, format)
    except RowError as error:
        raise refusal(error.located) from error
    if format == to and "preferred_output" not in row:
        known = fields_of(row_type(clean, format))
        others = sorted(name for name in clean if not {name, camel(name)} & known)
        result = {name: value for name, value in row.items() if name not in others}
        if _BORDER not in conversation.left_out and _has_own_roles(clean, format):
            return result, tuple(others)
        # The turns are written again; all other fields stay.
        fresh = write(conversation, to)
        fresh.pop("completions", None)
        if clean.keys() & {"systemInstruction", "system_instruction"}:
            fresh.pop("systemInstruction", None)
        return result | fresh, (*others, *conversation.left_out)
    conversation, more = with_tools(conversation, clean, format)
    left_out = {name for name in clean if not {name, camel(name)} & _FORMATS[format].fields}
    left_out |= {*more, *conversation.left_out}
    loses_answer = conversation.rejected is not None and to != "preference"
    lost = ("the rejected answer",) if loses_answer else ()
    return write(conversation, to), (*sorted(left_out), *lost)


@cache
def _roles() -> dict[str, list[str]]:
    return dict(load("catalog/services.toml")["roles"])


def _has_own_roles(row: Mapping[str, Any], format: str) -> bool:
    """Return True if no turn has a role that reading knows, but not the format's service."""
    name = "contents" if format in ("gemini", "preference") else "messages"
    role = "author" if format == "palm-chat" else "role"
    return all(turn.get(role, "user") in _roles()[format] for turn in row.get(name, ()))


def with_tools(
    conversation: Conversation, row: Mapping[str, Any], format: str
) -> tuple[Conversation, list[str]]:
    """Add the functions that a row declares; return what was left out of them, too."""
    bound = list(conversation.bound)
    if binding := sorted(_BINDING & row.keys()):
        bound.append(f"it sets {', '.join(binding)}")
    tools, left_out = list[Row](), list[str]()
    if format in ("messages", "gemini", "preference"):
        declaring = row.get("input", row)
        tools, left_out = openai_messages.read_declarations(declaring, bound)
    return replace(conversation, tools=tuple(tools), bound=tuple(bound)), left_out


def without_nulls(value: Any) -> Any:
    """Leave out the fields that are null, at every depth: in protocol buffers null means unset."""
    if isinstance(value, dict):
        return {
            name: field if name in _FREE_FORM else without_nulls(field)
            for name, field in value.items()
            if field is not None
        }
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def _checked(turns: Sequence[Turn]) -> list[Turn]:
    """Check turns and their order, and join those of one role that follow each other."""
    if not turns or turns[-1].role != "assistant":
        raise RowError("the last turn is not the assistant's")
    if turns[0].role not in ("user", "system"):
        raise RowError("the first turn is not the user's")
    result: list[Turn] = []
    open_calls: list[Row] = []
    before = ""
    for turn in turns:
        if turn.role == "system":
            raise RowError("a system instruction is within the turns")
        if _has_no_text(turn):
            raise RowError(f"a turn of the {turn.role} has no text", "empty-text", turn.field)
        calls, answers = (
            ([], [])
            if turn.is_text
            else (turn.parts_of(kind) for kind in ("functionCall", "functionResponse"))
        )
        if (open_calls or answers) and not _are_answered(open_calls, answers):
            reason = "the answers of tools are not one for each call of the turn before"
            raise RowError(reason, "call-mismatch", turn.field)
        open_calls = calls
        if turn.role == before != "tool":
            result[-1] = replace(result[-1], parts=(*result[-1].parts, *turn.parts))
        else:
            result.append(turn)
        before = turn.role
    return result


def _are_answered(calls: list[Row], answers: list[Row]) -> bool:
    """Compare calls and answers by their names, and by their ids where all have one."""
    names = ["name", "id"] if all("id" in item for item in (*calls, *answers)) else ["name"]
    return all(
        sorted(call[name] for call in calls) == sorted(answer[name] for answer in answers)
        for name in names
    )


def _has_no_text(turn: Turn) -> bool:
    if turn.is_text:
        return is_blank(turn.parts[0]["text"])
    return all("text" in part and is_blank(part["text"]) for part in turn.parts)


@dataclass
class _Source:
    """A row, and what reading it finds: what a conversion leaves out, or cannot carry."""

    row: Mapping[str, Any]
    bound: list[str] = field(default_factory=list)
    dropped: set[str] = field(default_factory=set)
    rejected: Turn | None = None


def _pair(given: str, wanted: str) -> _Format:
    """Return how rows of an input and an output are read and written."""

    def read(source: _Source) -> list[Turn]:
        question, answer = source.row[given], source.row[wanted]
        if isinstance(question, list):
            messages = [*numbered(question, given), *numbered(answer, wanted)]
            return openai_messages.read(messages, source.bound)
        return [just_text("user", question, given), just_text("assistant", answer, wanted)]

    def write(conversation: Conversation) -> Row:
        if conversation.system:
            raise refusal("it has a system instruction, and a pair has no place for one")
        if len(conversation.turns) != 2 or conversation.tools:
            raise refusal("it has more turns than a pair, or tools")
        question, answer = (turn.one_text() for turn in conversation.turns)
        return {given: question, wanted: answer}

    return _Format(read, write, {given, wanted})


def _read_palm_chat(source: _Source) -> list[Turn]:
    context = text(source.row.get("context", ""))
    turns = [] if is_blank(context) else [just_text("system", context, "context")]
    for path, message in numbered(source.row["messages"], "messages"):
        role = side_of(message["author"], path)
        if role not in ("user", "assistant"):
            raise RowError("an author is neither the user nor the assistant", "unknown-role", path)
        turns.append(just_text(role, message["content"], path))
    return turns


def _write_palm_chat(conversation: Conversation) -> Row:
    if conversation.tools:
        raise refusal("it declares tools")
    turns = [{"author": turn.role, "content": turn.one_text()} for turn in conversation.turns]
    return ({"context": conversation.system} if conversation.system else {}) | {"messages": turns}


def _read_messages(source: _Source) -> list[Turn]:
    return openai_messages.read(numbered(source.row["messages"], "messages"), source.bound)


def _write_messages(conversation: Conversation) -> Row:
    system = [{"role": "system", "content": conversation.system}] if conversation.system else []
    row: Row = {"messages": system + openai_messages.write(conversation.turns)}
    tools = openai_messages.write_declarations(conversation.tools)
    return row | ({"tools": tools} if tools else {})


def _read_gemini(source: _Source) -> list[Turn]:
    system = source.row.get("systemInstruction") or source.row.get("system_instruction")
    turns = [Turn("system", _read_parts(system["parts"], source))] if system else []
    for path, content in numbered(source.row["contents"], "contents"):
        turns.append(_read_content(content, path, source))
    return turns


def _read_content(content: Mapping[str, Any], path: str, source: _Source) -> Turn:
    parts, side = _read_parts(content["parts"], source), side_of(content.get("role", "user"), path)
    turn = Turn(side, parts, path)
    if turn.is_text and side != "tool":
        return turn
    answers = ["functionResponse" in part for part in parts]
    if any(answers):
        if all(answers):
            return Turn("tool", parts, path)
        source.bound.append("a turn holds a function's response and something else")
    elif side == "tool":
        raise RowError("a turn of a function holds no function's response", "role-order", path)
    if side == "user" and any("functionCall" in part for part in parts):
        raise RowError("a turn of the user holds a function call", "role-order", path)
    return turn


def _read_parts(parts: Sequence[Mapping[str, Any]], source: _Source) -> tuple[Part, ...]:
    result: list[Part] = []
    for part in parts:
        if len(part) == 1 and "text" in part:
            text(part["text"])
            result.append(part)
            continue
        named = {camel(name): value for name, value in part.items() if value not in ([], {})}
        data = named.keys() & PART_KINDS
        if len(data) != 1 or named.keys() - fields_of("Part"):
            raise RowError(f"a part holds {', '.join(sorted(data)) or 'nothing'}", "wrong-type")
        if part.get("thought") is True:
            source.dropped.add("thoughts")
            continue
        source.dropped.update(named.keys() - data)
        (kind,) = data
        value = named[kind]
        if kind == "text":
            text(value)
        elif kind in ("fileData", "inlineData"):
            value = {camel(name): item for name, item in value.items()}
            if value.pop("displayName", ""):
                source.dropped.add("displayName")
        elif kind == "functionResponse":
            more = {camel(name) for name, item in value.items() if item} - _ANSWERED
            if more:
                source.bound.append(f"a function's response has {', '.join(sorted(more))}")
        result.append({kind: value})
    return tuple(result)


def _write_gemini(conversation: Conversation) -> Row:
    system = {"systemInstruction": {"role": "system", "parts": [{"text": conversation.system}]}}
    row = (system if conversation.system else {}) | {"contents": _contents(conversation.turns)}
    tools = {"tools": [{"functionDeclarations": list(conversation.tools)}]}
    return row | (tools if conversation.tools else {})


def _contents(turns: Iterable[Turn]) -> list[Row]:
    roles = {"user": "user", "tool": "user", "assistant": "model"}
    return [{"role": roles[turn.role], "parts": list(turn.parts)} for turn in turns]


def _read_preference(source: _Source) -> list[Turn]:
    row = source.row
    if "completions" not in row:
        if len(row["preferred_output"]) != 1 or len(row["non_preferred_output"]) != 1:
            raise RowError("an answer has several messages")
        answer = ("preferred_output", row["preferred_output"][0])
        other = ("non_preferred_output", row["non_preferred_output"][0])
        messages = [*numbered(row["input"]["messages"], "input.messages"), answer]
        turns = openai_messages.read(messages, source.bound)
        (source.rejected,) = openai_messages.read([other], source.bound)
        return turns
    answers = list(row["completions"])
    if any(isinstance(completion["score"], bool) for completion in answers):
        raise RowError("a score is not a number")
    if len(answers) != 2 or float(answers[0]["score"]) == float(answers[1]["score"]):
        raise RowError("it has not two completions with different scores")
    if any(completion["completion"].get("role", "model") != "model" for completion in answers):
        raise RowError("an answer is not the model's")
    worse, better = (
        _read_content({**completion["completion"], "role": "model"}, "completions", source)
        for completion in sorted(answers, key=lambda completion: float(completion["score"]))
    )
    if any("functionResponse" in part for answer in (worse, better) for part in answer.parts):
        raise RowError("a function's response is in an answer of the model", "role-order")
    source.rejected = worse
    return [*_read_gemini(source), better]


def _write_preference(conversation: Conversation) -> Row:
    if conversation.rejected is None:
        raise refusal("it has no rejected answer")
    row = _write_gemini(replace(conversation, turns=conversation.turns[:-1]))
    answers = _contents([conversation.turns[-1], conversation.rejected])
    scored = zip((1.0, 0.0), answers, strict=True)
    return row | {"completions": [{"score": s, "completion": answer} for s, answer in scored]}


class _Format(NamedTuple):
    """How rows of a format are read and written.

    A conversion reads these fields of a row; all others are left out.
    """

    read: Callable[[_Source], list[Turn]]
    write: Callable[[Conversation], Row]
    fields: set[str]


_GEMINI = {"systemInstruction", "contents", "tools", "completions"}
_OPENAI_PREFERENCE = {"input", "preferred_output", "non_preferred_output"}
_FORMATS = {
    "palm": _pair("input_text", "output_text"),
    "prompt-completion": _pair("prompt", "completion"),
    "palm-chat": _Format(_read_palm_chat, _write_palm_chat, {"context", "messages"}),
    "messages": _Format(_read_messages, _write_messages, {"messages", "tools", "functions"}),
    "gemini": _Format(_read_gemini, _write_gemini, _GEMINI),
    "preference": _Format(_read_preference, _write_preference, _GEMINI | _OPENAI_PREFERENCE),
}
