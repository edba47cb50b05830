"""A tuned model is asked exactly as it was taught."""

from __future__ import annotations

import json

import pytest

from tunepipe.backends.base import Prompt, TuningRequest
from tunepipe.backends.chat_template import (
    answer_texts,
    completion_ids,
    end_ids,
    generation_ids,
    prompt_ids,
    prompt_text,
)
from tunepipe.backends.local import backend
from tunepipe.backends.local.tiny_model import learn_tokenizer
from tunepipe.data.conversations import example
from tunepipe.data.rows import read_examples
from tunepipe.errors import UsageError

USER = {"role": "user", "content": "お茶 12袋"}
SYSTEM = {"role": "system", "content": "Answer in JSON."}
TURNS = [SYSTEM, USER, {"role": "assistant", "content": "Which?"}, USER]
ANSWER = '{"item":"tea"}'

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WITHOUT_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}"
    "{% endif %}[{{ m.role }}]{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
# Opens the answer in generation with an empty thought, and leaves that out of earlier answers.
THINKING = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% if enable_thinking is defined and not "
    "enable_thinking %}<think></think>{% endif %}{% endif %}"
)


# Leaves the system's turn out, ends a turn with no mark, and sets a line's end before an answer.
UNMARKED = (
    "{% for m in messages %}{% if m.role != 'system' %}<|{{ m.role }}|>\n{{ m.content }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
# Names a channel between the role and the text, which the prompt of generation leaves to the model.
CHANNELS = (
    "{% for m in messages %}<|start|>{{ m.role }}{% if m.role == 'assistant' %}<|channel|>final"
    "{% endif %}<|message|>{{ m.content }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
# Reads a list of parts, as models do that also see pictures; of a text it writes nothing.
PARTS = (
    "{% for m in messages %}{{ m.role }}: {% for part in m.content %}{% if part.type == 'text' %}"
    "{{ part.text }}{% endif %}{% endfor %}</s>{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
MARKS = ["<|im_end|>", "</s>", "<|start|>", "<|channel|>", "<|message|>"]


def tokenizer_of(template, marks=MARKS):
    rows = [
        example({"input_text": f"お茶 {n}袋", "output_text": ANSWER}, "palm") for n in range(20)
    ]
    tokenizer = learn_tokenizer(rows)
    if template != "ours":
        tokenizer.chat_template = template
        tokenizer.add_special_tokens({"extra_special_tokens": marks})
    return tokenizer


CASES = [
    ("ours", [USER], "<|user|>お茶 12袋<|assistant|>", ANSWER + "<|end|>"),
    (None, [USER], "お茶 12袋\n\n", ANSWER + "<|end|>"),
    (None, [SYSTEM, USER], "Answer in JSON.\n\nお茶 12袋\n\n", ANSWER + "<|end|>"),
    (
        CHATML,
        [USER],
        "<|im_start|>user\nお茶 12袋<|im_end|>\n<|im_start|>assistant\n",
        ANSWER + "<|im_end|>\n",
    ),
    (
        WITHOUT_SYSTEM,
        [SYSTEM, USER],
        "[user]Answer in JSON.\n\nお茶 12袋</s>[assistant]",
        ANSWER + "</s>",
    ),
    (THINKING, [USER], "[user]お茶 12袋</s>\n[assistant]<think></think>", ANSWER + "</s>\n"),
    (
        UNMARKED,
        [SYSTEM, USER],
        "<|user|>\nAnswer in JSON.\n\nお茶 12袋<|assistant|>",
        "\n" + ANSWER + "<|end|>",
    ),
    (
        CHANNELS,
        [USER],
        "<|start|>user<|message|>お茶 12袋<|im_end|><|start|>assistant",
        "<|channel|>final<|message|>" + ANSWER + "<|im_end|>",
    ),
    (PARTS, [USER], "user: お茶 12袋</s>assistant:", " " + ANSWER + "</s>"),
]
TEMPLATES = ["ours", None, CHATML, WITHOUT_SYSTEM, THINKING, UNMARKED, CHANNELS, PARTS]


@pytest.mark.parametrize(("template", "messages", "prompt", "completion"), CASES)
def test_the_texts(template, messages, prompt, completion):
    tokenizer = tokenizer_of(template)
    assert prompt_text(tokenizer, messages) == prompt
    assert tokenizer.decode(completion_ids(tokenizer, messages, ANSWER)) == completion


@pytest.mark.parametrize(
    ("template", "marks", "ends"),
    [
        ("ours", MARKS, {"<|end|>"}),
        (None, MARKS, {"<|end|>"}),
        (CHATML, MARKS, {"<|end|>", "<|im_end|>"}),
        # A mark that the vocabulary does not have as one token cannot end an answer.
        (CHATML, [], {"<|end|>"}),
        (UNMARKED, MARKS, {"<|end|>"}),
    ],
)
def test_an_answer_ends_at_the_tokenizer_s_mark_and_at_the_template_s(template, marks, ends):
    tokenizer = tokenizer_of(template, marks)
    assert {tokenizer.decode([token]) for token in end_ids(tokenizer)} == ends
    taught = completion_ids(tokenizer, [USER], ANSWER)
    assert end_ids(tokenizer).intersection(taught)


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("answer", [ANSWER, "tea", "a\n\nb", "answer"])
def test_a_model_that_writes_what_it_was_taught_answers_with_the_answer(template, answer):
    """Whatever the template sets before and behind it; what a model writes later does not count."""
    tokenizer = tokenizer_of(template)
    taught = prompt_ids(tokenizer, TURNS) + completion_ids(tokenizer, TURNS, answer)
    asked = generation_ids(tokenizer, TURNS)
    assert taught[: len(asked)] == asked
    written = taught[len(asked) :] + tokenizer("and on", add_special_tokens=False)["input_ids"]
    assert answer_texts(tokenizer, [written], end_ids(tokenizer)) == [answer]


@pytest.mark.parametrize(
    ("template", "taught"), [(CHATML, "tea<|im_end|>\n"), (THINKING, " tea \n</s>\n")]
)
def test_blanks_at_the_ends_of_an_answer_are_the_template_s_to_cut(template, taught):
    tokenizer = tokenizer_of(template)
    assert tokenizer.decode(completion_ids(tokenizer, [USER], " tea \n")) == taught


def test_a_template_that_leaves_the_text_out_is_refused():
    with pytest.raises(UsageError, match="does not write what system and user say"):
        prompt_ids(tokenizer_of("{% for m in messages %}[{{ m.role }}]{% endfor %}"), [USER])


def test_a_tokenizer_that_frames_its_text_begins_the_prompt_and_does_not_end_it():
    from tokenizers.processors import TemplateProcessing

    tokenizer = tokenizer_of(None)
    begin, end = tokenizer.pad_token_id, tokenizer.eos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|pad|> $A <|end|>", special_tokens=[("<|pad|>", begin), ("<|end|>", end)]
    )
    ids = prompt_ids(tokenizer, [USER])
    assert (ids[0], tokenizer.decode(ids[1:])) == (begin, "お茶 12袋\n\n")
    assert completion_ids(tokenizer, [USER], ANSWER).count(end) == 1


def test_what_the_model_reads_in_prediction_begins_what_it_reads_in_training(tmp_path):
    """Seen from inside: the tokens that enter the model's embedding."""
    from torch import nn
    from torch.nn.modules.module import register_module_forward_pre_hook

    rows = tmp_path / "rows.jsonl"
    row = {"messages": [*TURNS, {"role": "assistant", "content": ANSWER}]}
    rows.write_text(json.dumps(row) + "\n", encoding="utf-8")
    read: list[list[int]] = []

    def look(module, arguments):
        if isinstance(module, nn.Embedding):
            read.append(arguments[0][0].tolist())

    hook = register_module_forward_pre_hook(look)
    try:
        request = TuningRequest("", str(rows), "", train_steps=1, batch_size=1)
        model = backend.tune(request, str(tmp_path / "model"), lambda event: None).model
        taught = list(read)
        read.clear()
        (one,) = read_examples(rows)
        list(backend.predict(model, [Prompt("a", one.messages)], max_output_tokens=1))
    finally:
        hook.remove()
    (asked,) = read
    assert taught
    for tokens in taught:
        assert tokens[: len(asked)] == asked
        assert len(tokens) > len(asked)
