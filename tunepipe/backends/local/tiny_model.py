"""The tiny language model that is made when no base model is named: 0.33 M parameters.

The layout is LFM2's: two short convolutions, then attention. Convolutions are what lets so small a
model copy numbers and names it has never seen; layouts of attention alone learn the training rows
by heart and answer nothing else. Its vocabulary is learnt from the training rows. It knows
nothing but the task: it is there to show that a pipeline works, and for narrow formats.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunepipe.data.conversations import Example

VOCABULARY = 600
MAX_TOKENS = 4096
_PAD, _END = "<|pad|>", "<|end|>"
_ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
_CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}"
    "{% if message.role == 'assistant' %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def learn_tokenizer(examples: Sequence[Example]) -> Any:
    """Learn a byte-level BPE vocabulary from the training rows.

    Bytes are its alphabet, so no text is unknown to it. A pair is merged only when it occurs about
    once in ten rows or more, and digits never are: rarer merges make tokens that the model sees too
    seldom to learn.

    Returns:
        A transformers tokenizer with a chat template.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=max(2, len(examples) // 10),
        special_tokens=[_PAD, _END, *_ROLES],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(_texts(examples), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=_PAD,
        eos_token=_END,
        additional_special_tokens=list(_ROLES),
        chat_template=_CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=MAX_TOKENS,
    )


def untrained_model(tokenizer: Any, seed: int) -> Any:
    """Make a model with random weights; the same seed gives the same weights."""
    import torch
    from transformers import AutoModelForCausalLM, Lfm2Config

    layers = ["conv", "conv", "full_attention"]
    config = Lfm2Config(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=192,
        block_auto_adjust_ff_dim=False,  # else transformers makes it another width
        num_hidden_layers=len(layers),
        layer_types=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=MAX_TOKENS,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(config)


def _texts(examples: Sequence[Example]) -> Iterator[str]:
    for example in examples:
        yield from (turn["content"] for turn in example.messages)
        yield example.reference
