"""Tuning a base model: LoRA and in full, on a Llama of random weights made here."""

from __future__ import annotations

import json
import shutil
import socket
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tunepipe.backends import local, local_lora
from tunepipe.backends.contract import Prompt, TuningRequest
from tunepipe.backends.local_loading import load_tokenizer
from tunepipe.backends.local_model import learn_tokenizer
from tunepipe.backends.local_options import TuningOptions
from tunepipe.core.errors import DataError, LimitError, UsageError
from tunepipe.core.formats import example, read_examples

MESSAGES = [{"role": "user", "content": "code of item 3"}]


def rows(count):
    return [{"input_text": f"code of item {n}", "output_text": f"C{n}"} for n in range(count)]


def write_rows(path, chosen):
    path.write_text("".join(json.dumps(row) + "\n" for row in chosen), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    chosen = rows(24)
    return write_rows(folder / "train.jsonl", chosen), write_rows(folder / "eval.jsonl", chosen[:6])


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder with a Llama of 0.2 M parameters that has learnt nothing."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("base")
    tokenizer = learn_tokenizer([example(row, "palm") for row in rows(50)])
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def run(base, data, folder, steps=5, **options):
    request = TuningRequest(base, *data, train_steps=steps, batch_size=8, options=options)
    return local.tune(request, str(folder), lambda event: None)


def logits(model):
    ids = torch.tensor([[7, 8, 9, 10]])
    with torch.no_grad():
        return model(input_ids=ids).logits


@pytest.fixture(scope="module")
def adapter(base, data, tmp_path_factory):
    return run(base, data, tmp_path_factory.mktemp("adapter"), learning_rate=1e-2)


@pytest.fixture(scope="module")
def merged(base, data, tmp_path_factory):
    return run(base, data, tmp_path_factory.mktemp("merged"), learning_rate=1e-2, merge=True)


def test_lora_trains_little_and_lowers_the_loss(base, adapter):
    found = adapter.statistics
    assert found["final_loss"] < found["untrained_loss"]
    assert found["trained_parameters"] < found["parameters"] / 2
    assert found["base_model"] == base
    assert base in found["note"]
    assert "lora" in found["note"]


def test_the_adapter_and_the_merged_model_are_one_model(adapter, merged):
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM

    whole = AutoModelForCausalLM.from_pretrained(merged.model)
    layered = AutoPeftModelForCausalLM.from_pretrained(adapter.model)
    torch.testing.assert_close(logits(whole), logits(layered), atol=1e-5, rtol=1e-5)
    assert merged.statistics["trained_parameters"] == adapter.statistics["trained_parameters"]
    assert (Path(merged.model) / "adapter" / "adapter_model.safetensors").exists()


def test_a_model_in_four_bits_is_merged_into_its_own_weights(base, tmp_path):
    """Not into the rounded ones; bitsandbytes computes on a CPU too, which suffices to try it."""
    pytest.importorskip("bitsandbytes")
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    bits = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    small = AutoModelForCausalLM.from_pretrained(base, quantization_config=bits)
    model = local_lora.adapt(small, TuningOptions(tuning_mode="qlora"), seed=0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:  # as if it had learnt
            torch.nn.init.normal_(weight, std=0.1)
    local_lora.save(model, load_tokenizer(base), tmp_path, merge=True)
    whole = AutoModelForCausalLM.from_pretrained(tmp_path)
    layered = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter")
    assert not hasattr(whole.config, "quantization_config")
    torch.testing.assert_close(logits(whole), logits(layered), atol=1e-5, rtol=1e-5)


def test_what_was_tuned_is_not_the_base(base, merged):
    from transformers import AutoModelForCausalLM

    before, after = (AutoModelForCausalLM.from_pretrained(name) for name in (base, merged.model))
    assert not torch.allclose(logits(before), logits(after), atol=1e-3)


def test_adapter_and_merged_model_answer_alike(adapter, merged):
    prompts = [Prompt(str(n), [{"role": "user", "content": f"code of item {n}"}]) for n in range(5)]

    def answers(model):
        return {a.id: a.text for a in local.predict(model, prompts, max_output_tokens=4)}

    assert answers(adapter.model) == answers(merged.model)


def test_a_base_model_can_be_asked_as_it_is(base):
    (answer,) = local.predict(base, [Prompt("a", MESSAGES)], max_output_tokens=2)
    assert answer.text is not None


@pytest.mark.parametrize("end", ["<|end|>", "<|system|>"], ids=["its own", "the template's"])
def test_full_tuning_learns_the_rows_and_where_an_answer_ends(base, data, tmp_path, end):
    """Also where the chat template ends a turn with another mark than the tokenizer's."""
    changed = tmp_path / "base"
    shutil.copytree(base, changed)
    template = changed / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|end|>", end))
    options = {"tuning_mode": "full", "learning_rate": 5e-3}
    few = (data[1], data[1])
    found = run(str(changed), few, tmp_path / "out", steps=60, **options)
    assert found.statistics["trained_parameters"] == found.statistics["parameters"]
    examples = list(read_examples(data[1]))
    prompts = [Prompt(one.id, one.messages) for one in examples]
    answers = {a.id: a.text for a in local.predict(found.model, prompts, max_output_tokens=8)}
    assert answers == {one.id: one.reference for one in examples}


def test_the_loss_is_on_the_answer_alone(base, data, tmp_path):
    """The loss before training is the mean over the answers' tokens, reckoned by hand."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(base),
        AutoTokenizer.from_pretrained(base),
    )
    losses = []
    for one in read_examples(data[1]):
        prompt = tokenizer(f"<|user|>{one.messages[0]['content']}<|assistant|>")["input_ids"]
        answer = tokenizer(f"{one.reference}<|end|>")["input_ids"]
        with torch.no_grad():
            scores = model(input_ids=torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
        losses += [-scores[len(prompt) + n - 1, token].item() for n, token in enumerate(answer)]
    found = run(base, data, tmp_path, steps=1, learning_rate=1e-2).statistics
    assert found["untrained_loss"] == pytest.approx(sum(losses) / len(losses), abs=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"packing": True},
        {"packing": True, "micro_batch_size": 2},
        {"micro_batch_size": 3},
        {"gradient_checkpointing": True},
        {"processes": 2},
    ],
)
def test_ways_to_divide_a_step_change_no_weight(base, data, adapter, tmp_path, options):
    found = run(base, data, tmp_path, learning_rate=1e-2, **options)
    wanted = load_file(f"{adapter.model}/adapter_model.safetensors")
    for name, tensor in load_file(f"{found.model}/adapter_model.safetensors").items():
        torch.testing.assert_close(tensor, wanted[name], atol=2e-4, rtol=0)
    assert found.statistics["tokens"] == adapter.statistics["tokens"]


def test_rank_alpha_and_modules_are_options(base, data, tmp_path):
    options = {"lora_rank": 2, "lora_alpha": 8, "target_modules": "q_proj, v_proj"}
    found = run(base, data, tmp_path, learning_rate=1e-2, **options)
    config = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["r"], config["lora_alpha"]) == (2, 8)
    assert sorted(config["target_modules"]) == ["q_proj", "v_proj"]
    # Two layers; q maps 64 to 64, v maps 64 to 2 heads of 16.
    assert found.statistics["trained_parameters"] == 2 * 2 * ((64 + 64) + (64 + 32))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU makes some of these possible")
@pytest.mark.parametrize(
    ("options", "kind", "where"),
    [
        ({"target_modules": "no_such_module"}, UsageError, "target_modules"),
        ({"tuning_mode": "qlora"}, LimitError, "tuning_mode"),
        ({"device": "cuda"}, UsageError, "device"),
        ({"max_tokens": 4}, DataError, "max_tokens"),
    ],
)
def test_what_cannot_be_is_refused(base, data, tmp_path, options, kind, where):
    with pytest.raises(kind) as caught:
        run(base, data, tmp_path, **options)
    assert caught.value.where == where
    assert caught.value.fix


def test_a_row_longer_than_the_model_reads_is_refused(base, tmp_path):
    row = {"input_text": "item " * 300, "output_text": "C1"}
    data = (write_rows(tmp_path / "long.jsonl", [row] * 2), "")
    with pytest.raises(DataError, match="2 of 2 rows have more than 256 tokens"):
        run(base, data, tmp_path / "out")


def test_a_folder_without_a_model_is_named(data, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no model in Hugging Face layout"):
        run(str(tmp_path / "empty"), data, tmp_path / "out")


def test_a_hub_that_cannot_be_reached_is_told_in_words(data, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match="neither from a folder nor from the hub") as caught:
        run("nobody/no-such-model", data, tmp_path)
    assert caught.value.where == "base_model nobody/no-such-model"


def test_with_a_folder_nobody_asks_the_network(base, data, tmp_path, monkeypatch):
    """The hub's client would wait for half a minute where there is none."""
    asked = []

    def refuse(address, *arguments):
        asked.append(address)
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name, merge in (("adapter", False), ("merged", True)):
        found = run(base, data, tmp_path / name, steps=1, learning_rate=1e-2, merge=merge)
        list(local.predict(found.model, [Prompt("a", MESSAGES)], max_output_tokens=1))
    assert asked == []


@pytest.mark.skipif("vllm" in sys.modules, reason="vLLM is installed")
def test_vllm_that_is_not_installed_is_named(base):
    with pytest.raises(UsageError, match="vLLM is not installed"):
        list(local.predict(base, [Prompt("a", MESSAGES)], engine="vllm"))
