"""Small models of random weights, and rows to tune them on."""

from __future__ import annotations

import json

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tunepipe.backends.local.tiny_model import learn_tokenizer
from tunepipe.data.conversations import example


def rows(count):
    return [{"input_text": f"code of item {n}", "output_text": f"C{n}"} for n in range(count)]


def write_rows(path, chosen):
    path.write_text("".join(json.dumps(row) + "\n" for row in chosen), encoding="utf-8")
    return str(path)


def random_model(kind, vocab_size=300, **shape):
    """A small model of a kind, that has learnt nothing."""
    config = AutoConfig.for_model(
        kind,
        **{
            "vocab_size": vocab_size,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "pad_token_id": 0,
            "bos_token_id": None,
            "eos_token_id": 1,
            "max_position_embeddings": 256,
            **shape,
        },
    )
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config)


def write_base(folder, kind="llama", **shape):
    """Write such a model and a tokenizer of the rows' texts, in Hugging Face layout."""
    tokenizer = learn_tokenizer([example(row, "palm") for row in rows(50)])
    random_model(kind, vocab_size=len(tokenizer), **shape).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
