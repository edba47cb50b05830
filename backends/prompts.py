"""How a conversation becomes a model's input: one rendering, for training and for prediction.

Training reads a prompt followed by its completion, prediction reads the prompt alone. Both take the
prompt from `prompt_ids`, so a tuned model is asked exactly as it was taught.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Messages = Sequence[Mapping[str, str]]


def prompt_text(tokenizer: Any, messages: Messages) -> str:
    """Return the prompt as the model reads it.

    Args:
        tokenizer: A transformers tokenizer. Its chat template is used where it has one; else the
            turns stand one after the other with blank lines between.
        messages: {"role", "content"}, the last one the user's.
    """
    if tokenizer.chat_template:
        return _templated(tokenizer, messages, add_generation_prompt=True)
    return "".join(f"{message['content']}\n\n" for message in messages)


def completion_text(tokenizer: Any, messages: Messages, answer: str) -> str:
    """Return what follows the prompt in training: the answer, and the mark that ends a turn."""
    if not tokenizer.chat_template:
        return answer + (tokenizer.eos_token or "")
    turns = [*messages, {"role": "assistant", "content": answer}]
    whole = _templated(tokenizer, turns, add_generation_prompt=False)
    prompt = prompt_text(tokenizer, messages)
    if whole.startswith(prompt):
        return whole.removeprefix(prompt)
    # Some templates open the answer with other words in training than in generation: the prompt
    # of generation is what counts, and what the template puts after the answer.
    return answer + whole.rpartition(answer.strip())[2]


def prompt_ids(tokenizer: Any, messages: Messages) -> list[int]:
    """Return the prompt's tokens."""
    text = prompt_text(tokenizer, messages)
    # A template writes its own marks; without one the tokenizer adds the mark of a beginning.
    ids: list[int] = tokenizer(text, add_special_tokens=not tokenizer.chat_template)["input_ids"]
    ends_itself = not tokenizer.chat_template and ids[-1:] == [tokenizer.eos_token_id]
    return ids[:-1] if ends_itself else ids


def completion_ids(tokenizer: Any, messages: Messages, answer: str) -> list[int]:
    """Return the completion's tokens; appended to `prompt_ids` they are a row of training."""
    text = completion_text(tokenizer, messages, answer)
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def end_ids(tokenizer: Any) -> set[int]:
    """Return the tokens after which an answer is over: the tokenizer's end, and the template's.

    They differ where a base model carries the chat template of its instructed sibling.
    """
    asked = [{"role": "user", "content": "?"}]
    tail = completion_text(tokenizer, asked, "!").rpartition("!")[2]
    first = tokenizer(tail, add_special_tokens=False)["input_ids"][:1]
    known = tokenizer.added_tokens_decoder
    marks = {token for token in first if token in known and known[token].special}
    return marks | {tokenizer.eos_token_id} - {None}


def _templated(tokenizer: Any, messages: Messages, *, add_generation_prompt: bool) -> str:
    from jinja2 import TemplateError

    def render(turns: Messages) -> str:
        # enable_thinking is a word of some templates (Qwen 3); others do not look at it.
        text: str = tokenizer.apply_chat_template(
            list(turns),
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            enable_thinking=False,
        )
        return text

    try:
        return render(messages)
    except TemplateError:
        return render(_without_system(messages))


def _without_system(messages: Messages) -> Messages:
    """Move the system turn into the first user turn, for templates that know no system role."""
    if len(messages) < 2 or messages[0]["role"] != "system":
        return messages
    system, first, *rest = messages
    return [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *rest]
