"""Renders a conversation as a model's input, in the same way for training and prediction.

Training reads a prompt, the opening of an answer, and the answer; prediction reads the first two
(`generation_ids`). All come from the same functions, so a tuned model is asked as it was taught.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import takewhile
from typing import Any

from tunepipe.errors import UsageError

Messages = Sequence[Mapping[str, Any]]

_PROBE = "answer"
_SAMPLE = ({"role": "user", "content": "?"},)


def prompt_text(tokenizer: Any, messages: Messages) -> str:
    """Return the prompt as the model reads it; the last message is the user's.

    Without a chat template the turns follow each other with blank lines between them. A
    UsageError if the template leaves out what the messages say.
    """
    if tokenizer.chat_template:
        return _templated(tokenizer, messages, add_generation_prompt=True)
    return "".join(f"{message['content']}\n\n" for message in messages)


def generation_ids(tokenizer: Any, messages: Messages) -> list[int]:
    """Return the tokens after which the model is to answer: the prompt's, and a named channel's."""
    opening, _ = _frame(tokenizer, messages)
    return prompt_ids(tokenizer, messages) + _named(tokenizer, opening)


def prompt_ids(tokenizer: Any, messages: Messages) -> list[int]:
    """Return the prompt's tokens."""
    text = prompt_text(tokenizer, messages)
    # A template writes its own marks; without one the tokenizer adds the mark of a beginning.
    ids: list[int] = tokenizer(text, add_special_tokens=not tokenizer.chat_template)["input_ids"]
    ends_itself = not tokenizer.chat_template and ids[-1:] == [tokenizer.eos_token_id]
    return ids[:-1] if ends_itself else ids


def completion_ids(tokenizer: Any, messages: Messages, answer: str) -> list[int]:
    """Return the completion's tokens; appended to `prompt_ids` they are a row of training."""
    opening, closing = _frame(tokenizer, messages)
    # Many templates cut the blanks off an answer's ends.
    is_kept = not tokenizer.chat_template or answer in _rendered(tokenizer, messages, answer)
    text = (answer if is_kept else answer.strip()) + closing
    named = _named(tokenizer, opening)
    return named + _ids(tokenizer, text if named else opening + text)


def end_ids(tokenizer: Any) -> set[int]:
    """Return the tokens after which an answer is over: the tokenizer's end, and the template's.

    They differ if a base model carries the chat template of its instructed sibling.
    """
    _, closing = _frame(tokenizer, _SAMPLE)
    return {*_marks(tokenizer, closing)[:1], tokenizer.eos_token_id} - {None}


def answer_texts(tokenizer: Any, written: Iterable[Sequence[int]], ends: Set[int]) -> list[str]:
    """Return the texts of what a model wrote, each up to the first of the tokens `ends`."""
    opening, _ = _frame(tokenizer, _SAMPLE)
    cut = [list(takewhile(lambda token: token not in ends, ids)) for ids in written]
    texts: list[str] = tokenizer.batch_decode(cut, skip_special_tokens=True)
    return [text.removeprefix(opening) for text in texts]


def _frame(tokenizer: Any, messages: Messages) -> tuple[str, str]:
    """Return what comes before and after an answer.

    Before it some templates name a channel (`<|channel|>final<|message|>`), or set a blank. After
    it comes the token that ends it: the tokenizer's own, if the template has none that the
    vocabulary knows.
    """
    end = tokenizer.eos_token or ""
    if not tokenizer.chat_template:
        return "", end
    whole = _rendered(tokenizer, messages, _PROBE)
    prompt = prompt_text(tokenizer, messages)
    if whole.startswith(prompt):
        opening, _, closing = whole.removeprefix(prompt).partition(_PROBE)
    else:
        # Some open the answer with other words in training than in generation (an empty thought):
        # those of generation count, as the model will be asked with them.
        opening, closing = "", whole.rpartition(_PROBE)[2]
    return opening, closing if _marks(tokenizer, closing) else end or closing


def _named(tokenizer: Any, opening: str) -> list[int]:
    """Return the tokens of an opening that names a channel; [] of one that is but a blank."""
    return _ids(tokenizer, opening) if _marks(tokenizer, opening) else []


def _rendered(tokenizer: Any, messages: Messages, answer: str) -> str:
    turns = [*messages, {"role": "assistant", "content": answer}]
    return _templated(tokenizer, turns, add_generation_prompt=False)


def _marks(tokenizer: Any, text: str) -> list[int]:
    """Return a text's control tokens, which are not language: only such a token ends an answer."""
    return [token for token in _ids(tokenizer, text) if token in tokenizer.added_tokens_decoder]


def _ids(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _templated(tokenizer: Any, messages: Messages, *, add_generation_prompt: bool) -> str:
    """Return the first rendering that holds what system and user say."""
    from jinja2 import TemplateError

    texts = [m["content"].strip() for m in messages if m["role"] != "assistant"]
    for turns in _forms(messages):
        try:
            # enable_thinking is a word of some templates (Qwen 3); others do not look at it.
            text: str = tokenizer.apply_chat_template(
                turns,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                enable_thinking=False,
            )
        except TemplateError:
            continue
        if all(words in text for words in texts):
            return text
    raise UsageError(
        "the chat template of the model does not write what system and user say",
        where=f"base_model {tokenizer.name_or_path}",
        fix="take a model that chats in text, or fix its chat_template.jinja",
    )


def _forms(messages: Messages) -> Iterator[list[Mapping[str, Any]]]:
    """Yield the forms of a conversation, of which a template understands at least one."""
    forms = [list(messages)]
    if len(messages) > 1 and messages[0]["role"] == "system":
        # Some templates know no system role: its words go into the first user turn.
        system, first, *rest = messages
        forms.append([{**first, "content": f"{system['content']}\n\n{first['content']}"}, *rest])
    for turns in forms:
        yield turns
        # Templates of models that also see pictures read parts.
        yield [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in turns]
