"""Tuning a base model: LoRA and in full, on a Llama of random weights made here."""

from __future__ import annotations

import json
import math
import os
import shutil
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaForCausalLM, LlamaModel

from tests.backends.local.models import random_model, rows, write_base, write_rows
from tests.standin import warm
from tunepipe.backends.base import Prompt, TuningRequest
from tunepipe.backends.chat_template import generation_ids
from tunepipe.backends.local import backend, base_tuning, pretrained, trainer
from tunepipe.backends.local.base_model import dtype_of, load_tokenizer
from tunepipe.backends.local.options import LocalOptions
from tunepipe.backends.local.rows import TokenRow, encode
from tunepipe.backends.local.trainer import tells_packed_apart
from tunepipe.data.rows import read_examples
from tunepipe.errors import DataError, LimitError, TunepipeError, UsageError

needs_bitsandbytes = pytest.mark.skipif(
    not find_spec("bitsandbytes"), reason="bitsandbytes is not installed"
)
needs_vllm = pytest.mark.skipif(not find_spec("vllm"), reason="vLLM is not installed")
MESSAGES = [{"role": "user", "content": "code of item 3"}]


@pytest.fixture(scope="module", autouse=True)
def warm_processes(tmp_path_factory):
    """What accelerate launches begins with torch and trl imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHON_EXEC", warm.warm_python(warm.shared(tmp_path_factory.mktemp("warm"))))
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    chosen = rows(24)
    return write_rows(folder / "train.jsonl", chosen), write_rows(folder / "eval.jsonl", chosen[:6])


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder with a Llama of 0.2 M parameters that has learnt nothing."""
    return write_base(tmp_path_factory.mktemp("base"))


def run(base, data, folder, steps=5, **options):
    request = TuningRequest(base, *data, train_steps=steps, batch_size=8, options=options)
    return backend.tune(request, str(folder), lambda event: None)


def answers(model, path, **settings):
    prompts = [Prompt(one.id, one.messages) for one in read_examples(path)]
    found = backend.predict(model, prompts, max_output_tokens=8, **settings)
    return {answer.id: answer.text for answer in found}


def assert_same_adapter(found, wanted):
    weights = load_file(f"{wanted.model}/adapter_model.safetensors")
    for name, tensor in load_file(f"{found.model}/adapter_model.safetensors").items():
        torch.testing.assert_close(tensor, weights[name], atol=2e-4, rtol=0)


def out_of_memory(*arguments, **settings):
    raise torch.OutOfMemoryError("CUDA out of memory")


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
    note = f"{base} tuned on 24 rows (lora): 32,768 parameters were trained."
    assert (found["note"], found["parameters"]) == (note, 141_760)
    steps, training, evaluation = map(list, zip(*found["loss_curve"], strict=True))
    assert (steps, found["best_step"], found["tokens"]) == ([0, 1, 2, 3, 4, 5], 3, 324)
    losses = [5.53540, 5.25987, 5.04432, 4.96633, 4.98073]
    assert training[1:] == pytest.approx(losses, rel=1e-3)
    losses = [5.53496, 5.25128, 5.01222, 4.87641, 4.97520, 4.91845]
    assert evaluation == pytest.approx(losses, rel=1e-3)


def test_the_adapter_and_the_merged_model_are_one_model(adapter, merged):
    from peft import AutoPeftModelForCausalLM

    whole = AutoModelForCausalLM.from_pretrained(merged.model)
    layered = AutoPeftModelForCausalLM.from_pretrained(adapter.model)
    torch.testing.assert_close(logits(whole), logits(layered), atol=1e-5, rtol=1e-5)
    assert merged.statistics["trained_parameters"] == adapter.statistics["trained_parameters"]
    assert (Path(merged.model) / "adapter" / "adapter_model.safetensors").exists()


@needs_bitsandbytes
def test_qlora_trains_as_lora_does_on_the_rounded_weights(base, data, tmp_path):
    """An evaluation between two steps changes nothing: bitsandbytes packs weights in one."""
    options = {"learning_rate": 1e-2, "evaluate_every": 1}
    options_4 = LocalOptions(tuning_mode="qlora")
    four_bits = pretrained.load_base(base, load_tokenizer(base), options_4, "cpu")
    four_bits.dequantize().save_pretrained(tmp_path / "rounded")
    load_tokenizer(base).save_pretrained(tmp_path / "rounded")
    wanted = run(str(tmp_path / "rounded"), data, tmp_path / "lora", **options)
    found = run(base, data, tmp_path / "qlora", tuning_mode="qlora", **options)
    assert_same_adapter(found, wanted)
    losses = [row[2] for row in found.statistics["loss_curve"]]
    assert losses == pytest.approx([row[2] for row in wanted.statistics["loss_curve"]], abs=1e-4)


def test_in_bfloat16_it_learns_as_in_float32(base, data, adapter, tmp_path):
    found = run(base, data, tmp_path, learning_rate=1e-2, precision="bfloat16").statistics
    wanted = adapter.statistics
    for name in ("untrained_loss", "final_loss"):
        # Three significant digits are what eight bits of a mantissa give.
        assert found[name] == pytest.approx(wanted[name], rel=4e-3)
        assert found[name] != wanted[name]
    assert found["memory_estimated_bytes"] < wanted["memory_estimated_bytes"]
    assert set(answers(str(tmp_path), data[1], precision="bfloat16")) == {
        one.id for one in read_examples(data[1])
    }


@needs_bitsandbytes
def test_a_model_too_large_for_its_bits_is_asked_in_four(base, adapter, data):
    """As base and as adapter; what is rounded answers much as before."""
    for model in (base, adapter.model):
        small = pretrained.load_tuned(model, "cpu", four_bit=True)
        whole = pretrained.load_tuned(model, "cpu")
        assert small.get_memory_footprint() < whole.get_memory_footprint()
        torch.testing.assert_close(logits(small), logits(whole), atol=0.2, rtol=0)
        assert answers(model, data[1], four_bit=True).keys() == answers(model, data[1]).keys()


def test_where_memory_runs_out_fewer_are_answered_at_once(merged, data, monkeypatch):
    """As on a GPU that holds three prompts: one that is full cannot be had on a CPU."""
    wanted = answers(merged.model, data[0])
    generate, sizes = LlamaForCausalLM.generate, []

    def of_three(self, input_ids, **settings):
        sizes.append(len(input_ids))
        if len(input_ids) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return generate(self, input_ids=input_ids, **settings)

    monkeypatch.setattr(LlamaForCausalLM, "generate", of_three)
    assert answers(merged.model, data[0]) == wanted
    assert max(sizes) == len(wanted)
    monkeypatch.setattr(LlamaForCausalLM, "generate", out_of_memory)
    with pytest.raises(LimitError, match=r"a prompt of \d+ tokens"):
        answers(merged.model, data[0])


def test_a_training_that_runs_out_of_memory_says_what_to_change(base, data, tmp_path, monkeypatch):
    monkeypatch.setattr(LlamaModel, "forward", out_of_memory)
    with pytest.raises(LimitError, match="the memory of cpu ran out") as caught:
        run(base, data, tmp_path)
    assert caught.value.where == "micro_batch_size"
    assert "it was 8" in caught.value.fix


@needs_bitsandbytes
def test_a_model_in_four_bits_is_merged_into_its_own_weights(base, tmp_path):
    """Not into the rounded ones."""
    from peft import AutoPeftModelForCausalLM

    options = LocalOptions(tuning_mode="qlora")
    model = pretrained.load_base(base, load_tokenizer(base), options, "cpu")
    model = pretrained.adapt(model, base, options, seed=0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:  # as if it had learnt
            torch.nn.init.normal_(weight, std=0.1)
    pretrained.save(model, load_tokenizer(base), tmp_path, merge=True)
    whole = AutoModelForCausalLM.from_pretrained(tmp_path)
    layered = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter")
    assert not hasattr(whole.config, "quantization_config")
    torch.testing.assert_close(logits(whole), logits(layered), atol=1e-5, rtol=1e-5)
    # In the precision of the training: float32 would take twice the memory of a large one.
    pretrained.save(model, load_tokenizer(base), tmp_path / "b", merge=True, precision="bfloat16")
    coarse = load_file(tmp_path / "b" / "model.safetensors")
    assert {tensor.dtype for tensor in coarse.values()} == {torch.bfloat16}


def test_what_was_tuned_is_not_the_base(base, merged):
    before, after = (AutoModelForCausalLM.from_pretrained(name) for name in (base, merged.model))
    assert not torch.allclose(logits(before), logits(after), atol=1e-3)


def test_an_adapter_finds_its_base_from_every_folder(base, data, tmp_path, monkeypatch):
    shutil.copytree(base, tmp_path / "base")
    monkeypatch.chdir(tmp_path)
    request = TuningRequest("base", *data, train_steps=2, batch_size=8)
    model = backend.tune(request, str(tmp_path / "model"), lambda event: None).model
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert answers(model, data[1])


def test_adapter_and_merged_model_answer_alike(adapter, merged, data):
    assert answers(adapter.model, data[0]) == answers(merged.model, data[0])


def test_a_base_model_can_be_asked_as_it_is(base):
    (answer,) = backend.predict(base, [Prompt("a", MESSAGES)], max_output_tokens=2)
    assert answer.text is not None


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_prompt_and_its_answer_have_room_in_what_the_model_reads(tmp_path, kind):
    """A model with learnt positions has none for another token; others only err in silence."""
    model = write_base(tmp_path / kind, kind, max_position_embeddings=48)
    tokenizer, reason = load_tokenizer(model), "leaves no room to answer: the model reads 48 tokens"
    prompts = [
        Prompt(str(n), [{"role": "user", "content": "item 7 " * n}]) for n in range(1, 24, 2)
    ]
    found = {each.id: each for each in backend.predict(model, prompts, max_output_tokens=40)}
    rooms = [48 - len(generation_ids(tokenizer, prompt.messages)) for prompt in prompts]
    assert rooms[0] > 40 > 0 >= rooms[-1]
    for prompt, room in zip(prompts, rooms, strict=True):
        answer = found[prompt.id]
        if room <= 0:
            assert (answer.text, answer.error) == (None, f"the prompt {reason}")
            continue
        alone = backend.predict(model, [prompt], max_output_tokens=min(40, room))
        assert [answer] == list(alone)


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
    wanted = {one.id: one.reference for one in read_examples(data[1])}
    assert answers(found.model, data[1]) == wanted


def test_the_loss_is_on_the_answer_alone(base, data, tmp_path):
    """The loss before training is the mean over the answers' tokens, reckoned by hand."""
    from transformers import AutoTokenizer

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
    assert_same_adapter(found, adapter)
    assert found.statistics["tokens"] == adapter.statistics["tokens"]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("kind", "shape", "apart"),
    [
        ("qwen3", {"head_dim": 32}, True),
        ("gemma3_text", {"head_dim": 32}, True),
        ("mixtral", {"num_local_experts": 4}, True),
        ("gpt_oss", {"head_dim": 32, "num_local_experts": 4}, False),
        ("opt", {"ffn_dim": 128, "word_embed_proj_dim": 64}, False),
        ("bloom", {"n_layer": 2, "n_head": 2}, False),
        ("lfm2", {"layer_types": ["conv", "full_attention"]}, False),
        ("mamba", {"state_size": 8}, False),
    ],
)
def test_rows_are_packed_only_where_none_sees_another(kind, shape, apart, precision):
    dtype = dtype_of(precision, "cpu")
    model = random_model(kind, **shape).to(dtype)
    assert (
        tells_packed_apart(model, TokenRow(list(range(5, 12)), list(range(12, 17)), []), dtype)
        is apart
    )


def test_a_model_that_cannot_tell_packed_rows_apart_is_refused_for_packing(data, tmp_path):
    base = write_base(tmp_path / "base", "lfm2", layer_types=["conv", "full_attention"])
    with pytest.raises(UsageError, match="cannot tell packed rows apart") as caught:
        run(base, data, tmp_path / "out", packing=True)
    assert caught.value.where == "packing"


def test_rank_alpha_and_modules_are_options(base, data, tmp_path):
    options = {"lora_rank": 2, "lora_alpha": 8, "target_modules": "q_proj, v_proj"}
    found = run(base, data, tmp_path, learning_rate=1e-2, **options)
    config = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["r"], config["lora_alpha"]) == (2, 8)
    assert sorted(config["target_modules"]) == ["q_proj", "v_proj"]
    # Two layers; q maps 64 to 64, v maps 64 to one head of 32.
    assert found.statistics["trained_parameters"] == 2 * 2 * ((64 + 64) + (64 + 32))


@pytest.mark.parametrize("name", ["embed_tokens", "lm_head"])
@pytest.mark.parametrize("tied", [True, False])
def test_an_end_of_the_model_is_adapted_unless_both_ends_are_one(name, tied):
    """Merged into both ends, what was trained for one of them is another model, without a word."""
    model = random_model("llama", tie_word_embeddings=tied)
    before = logits(model)
    options = LocalOptions(target_modules=f"q_proj, {name}", lora_rank=2)
    if tied:
        with pytest.raises(UsageError, match="embedding and head are one matrix"):
            pretrained.adapt(model, "org/model", options, 0)
        return
    adapted = pretrained.adapt(model, "org/model", options, 0).eval()
    for key, matrix in adapted.named_parameters():
        if "lora_" in key:
            torch.nn.init.constant_(matrix, 0.1)
    learnt = logits(adapted)
    assert float((learnt - before).abs().max()) > 0.1
    torch.testing.assert_close(logits(adapted.merge_and_unload()), learnt)


@pytest.mark.parametrize(
    ("options", "kind", "where"),
    [
        ({"target_modules": "no_such_module"}, UsageError, "target_modules"),
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
    with pytest.raises(DataError, match="2 of 2 rows with more than 256 tokens"):
        run(base, data, tmp_path / "out")


def test_a_folder_without_a_model_is_named(data, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no model in Hugging Face layout"):
        run(str(tmp_path / "empty"), data, tmp_path / "out")


def test_a_model_that_does_not_write_text_is_named(base, data, tmp_path):
    load_tokenizer(base).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "clip"}', encoding="utf-8")
    with pytest.raises(UsageError, match="of the kind clip, and no model that only writes text"):
        run(str(tmp_path), data, tmp_path / "out")


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
        list(backend.predict(found.model, [Prompt("a", MESSAGES)], max_output_tokens=1))
    assert asked == []


@pytest.mark.skipif(bool(find_spec("vllm")), reason="it is installed")
def test_vllm_that_is_not_installed_is_named(base):
    with pytest.raises(UsageError, match="vLLM is not installed"):
        list(backend.predict(base, [Prompt("a", MESSAGES)], engine="vllm"))


@pytest.mark.skipif(bool(find_spec("bitsandbytes")), reason="it is installed")
def test_bitsandbytes_that_is_not_installed_is_named(base, data, tmp_path):
    with pytest.raises(UsageError, match="bitsandbytes, which is not installed"):
        run(base, data, tmp_path, tuning_mode="qlora")


@needs_vllm
def test_vllm_answers_as_transformers_does(base, data, tmp_path):
    """A whole model, and an adapter of a rank that its kernels do not come in."""
    few = (data[1], data[1])
    whole = run(base, few, tmp_path / "a", 60, tuning_mode="full", learning_rate=5e-3).model
    others = [{**row, "output_text": f"{n} is {n}"} for n, row in enumerate(rows(6))]
    changed = write_rows(tmp_path / "changed.jsonl", others)
    options = {"lora_rank": 40, "lora_alpha": 80, "learning_rate": 1e-2}
    adapter = run(whole, (changed, changed), tmp_path / "b", 60, **options).model
    for model in (whole, adapter):
        ours = answers(model, data[0])
        assert len(set(ours.values())) > 5
        assert answers(model, data[0], engine="vllm") == ours


@needs_vllm
def test_what_vllm_cannot_take_is_left_to_transformers(base, data, tmp_path):
    without_weights = shutil.copytree(base, tmp_path / "base")
    (without_weights / "model.safetensors").unlink()
    with pytest.raises(TunepipeError, match="vLLM failed") as caught:
        answers(str(without_weights), data[1], engine="vllm")
    assert "transformers" in caught.value.fix


def preferences(path, count=16):
    made = [
        {
            "input": {"messages": [{"role": "user", "content": f"code of item {n}"}]},
            "preferred_output": [{"role": "assistant", "content": f"C{n}"}],
            "non_preferred_output": [{"role": "assistant", "content": f"item {n}"}],
        }
        for n in range(count)
    ]
    return write_rows(path, made)


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_preference_rows_are_tuned_by_dpo(base, tmp_path, mode):
    train, held_out = (preferences(tmp_path / f"{n}.jsonl", n) for n in (16, 4))
    options = {"tuning_mode": mode, "learning_rate": 5e-3, "beta": 0.5}
    found = run(base, (train, held_out), tmp_path / "out", steps=20, **options)
    # Before the first step both models are one: -log sigmoid(0).
    assert found.statistics["untrained_loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert found.statistics["final_loss"] < 0.5
    assert f"DPO, {mode}" in found.statistics["note"]
    before, after = (margin(model, held_out) for model in (base, found.model))
    assert after > before + 1


def margin(model, path):
    """How much likelier the answer preferred is than the other, summed over tokens and rows."""
    tokenizer = load_tokenizer(model)
    loaded = pretrained.load_tuned(model, "cpu")
    total = 0.0
    for row in encode(tokenizer, read_examples(path), 256):
        for answer, sign in ((row.completion, 1), (row.rejected, -1)):
            ids = torch.tensor([row.prompt + answer])
            with torch.no_grad():
                scores = loaded(input_ids=ids).logits[0, :-1].log_softmax(-1)
            likelihoods = scores.gather(1, ids[0, 1:, None])[-len(answer) :]
            total += sign * likelihoods.sum().item()
    return total


def test_preference_rows_cannot_be_packed(base, tmp_path):
    train = preferences(tmp_path / "rows.jsonl")
    with pytest.raises(UsageError, match="preference rows cannot be packed"):
        run(base, (train, ""), tmp_path / "out", packing=True)


KILLED = """
import sys, time
from tunepipe.backends.base import TuningRequest
from tunepipe.backends.local import backend

def report(event):
    print(event["done"], flush=True)
    if event["done"] == 5:
        time.sleep(60)

options = {"learning_rate": 1e-2, "checkpoint_every": 2}
backend.tune(TuningRequest(*sys.argv[1:4], 7, 8, options=options), sys.argv[4], report)
"""


def test_a_killed_training_goes_on_and_ends_with_the_weights_of_an_unbroken_one(
    base, data, tmp_path
):
    options = {"learning_rate": 1e-2, "checkpoint_every": 2}
    whole = run(base, data, tmp_path / "whole", steps=7, **options)
    command = [sys.executable, "-c", KILLED, base, *data, str(tmp_path / "killed")]
    step = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for line in step.stdout:
        if line == "5\n":
            break
    step.kill()
    step.wait()
    # As if it had been killed while it wrote: a checkpoint is whole once its last file is there.
    (checkpoints,) = (tmp_path / "killed").glob("checkpoints-*")
    shutil.copytree(checkpoints / "checkpoint-4", checkpoints / "checkpoint-6")
    (checkpoints / "checkpoint-6" / "trainer_state.json").unlink()
    resumed = run(base, data, tmp_path / "killed", steps=7, **options)
    assert resumed.statistics["resumed_from_step"] == 4
    wanted = load_file(f"{whole.model}/adapter_model.safetensors")
    for name, tensor in load_file(f"{resumed.model}/adapter_model.safetensors").items():
        assert torch.equal(tensor, wanted[name])
    for name in ("loss_curve", "final_loss", "tokens"):
        assert resumed.statistics[name] == whole.statistics[name]
    assert not list((tmp_path / "killed").glob("checkpoints-*"))


def test_one_seed_gives_one_adapter_and_another_another(base, data, adapter, tmp_path):
    same = run(base, data, tmp_path / "same", learning_rate=1e-2)
    request = TuningRequest(base, *data, 5, 8, seed=1, options={"learning_rate": 1e-2})
    other = backend.tune(request, str(tmp_path / "other"), lambda event: None)
    found, kept, changed = (
        load_file(f"{one.model}/adapter_model.safetensors") for one in (same, adapter, other)
    )
    assert all(torch.equal(found[name], kept[name]) for name in kept)
    assert any(not torch.equal(found[name], changed[name]) for name in kept)


def test_early_stopping_keeps_the_best_weights(base, data, tmp_path):
    # So high a rate that the loss soon rises.
    options = {"early_stopping": 2, "evaluate_every": 1, "learning_rate": 0.2}
    found = run(base, data, tmp_path, steps=40, **options)
    losses = {step: loss for step, _, loss in found.statistics["loss_curve"] if loss is not None}
    assert found.statistics["train_steps"] < 40
    assert found.statistics["final_loss"] == min(losses.values())
    assert found.statistics["best_step"] == min(losses, key=losses.get)
    assert len([step for step in losses if step > found.statistics["best_step"]]) == 2
    again = run(found.model, data, tmp_path / "again", 9, tuning_mode="full", learning_rate=5e-3)
    assert again.statistics["untrained_loss"] == pytest.approx(min(losses.values()), abs=1e-4)


def test_the_best_weights_are_kept_where_the_checkpoints_were_moved(
    base, data, tmp_path, monkeypatch
):
    """As on another machine, after a kill between the last checkpoint and the result."""
    options = {"early_stopping": 9, "evaluate_every": 1, "learning_rate": 1e-2}
    losses = iter([5.0, 3.0, 2.0, 2.5, 4.0])
    monkeypatch.setattr(trainer, "_mean_over_tokens", lambda prediction: {"loss": next(losses)})
    with monkeypatch.context() as patch:
        patch.setattr(base_tuning, "save", out_of_memory)
        with pytest.raises(torch.OutOfMemoryError):
            run(base, data, tmp_path / "a", 4, checkpoint_dir=str(tmp_path / "first"), **options)
    moved = (tmp_path / "first").rename(tmp_path / "second")
    kept = {one.parent.name: load_file(one) for one in moved.glob("*/*/adapter_model.safetensors")}
    found = run(base, data, tmp_path / "b", 4, checkpoint_dir=str(moved), **options)
    assert (found.statistics["resumed_from_step"], found.statistics["best_step"]) == (4, 2)
    assert sorted(kept) == ["checkpoint-2", "checkpoint-4"]
    weights = load_file(f"{found.model}/adapter_model.safetensors")
    assert all(torch.equal(weights[name], tensor) for name, tensor in kept["checkpoint-2"].items())


@pytest.mark.parametrize(
    ("multiplier", "message"), [(1e30, "not a number at step"), (1e5, "training did not help")]
)
@pytest.mark.parametrize("processes", [1, 2])
def test_a_training_that_fails_is_no_success(base, data, tmp_path, multiplier, message, processes):
    """What fails in another process is raised as if it were here."""
    if (processes, multiplier) == (2, 1e5):
        pytest.skip("each start of two processes takes ten seconds")
    request = TuningRequest(
        base,
        *data,
        train_steps=5,
        batch_size=8,
        learning_rate_multiplier=multiplier,
        options={"tuning_mode": "full", "processes": processes},
    )
    with pytest.raises(DataError, match=message):
        backend.tune(request, str(tmp_path), lambda event: None)
    assert not (tmp_path / "tuning.json").exists()


@pytest.mark.parametrize("mode", ["full", "lora"])
def test_sharded_by_fsdp_it_learns_as_in_one_process_and_goes_on_after_an_interruption(
    base, data, tmp_path, mode
):
    """Two processes over gloo, each with half of every weight, by TRL's configuration fsdp2."""
    options = {"tuning_mode": mode, "learning_rate": 1e-2, "checkpoint_every": 2}
    options["merge"] = mode == "lora"
    whole = run(base, data, tmp_path / "whole", steps=4, **options)
    options |= {"accelerate_config": "fsdp2", "processes": 2}

    def stop(event):
        if event["done"] >= 3:
            raise KeyboardInterrupt

    request = TuningRequest(base, *data, train_steps=4, batch_size=8, options=options)
    with pytest.raises(KeyboardInterrupt):
        backend.tune(request, str(tmp_path / "sharded"), stop)
    # Written by FSDP itself: a training that shards nothing writes optimizer.pt.
    assert list((tmp_path / "sharded").glob("checkpoints-*/checkpoint-2/optimizer.bin"))
    sharded = run(base, data, tmp_path / "sharded", steps=4, **options)
    assert sharded.statistics["resumed_from_step"] == 2
    assert sharded.statistics["processes"] == 2
    losses = [[row[2] for row in one.statistics["loss_curve"]] for one in (whole, sharded)]
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)
    adapter = ["adapter/adapter_model.safetensors"] if mode == "lora" else []
    for name in ("model.safetensors", *adapter):
        weights, wanted = (load_file(f"{one.model}/{name}") for one in (sharded, whole))
        assert weights.keys() == wanted.keys()
        for key, tensor in weights.items():
            torch.testing.assert_close(tensor, wanted[key], atol=2e-4, rtol=0)


def test_an_interrupted_training_of_two_processes_leaves_none(base, data, tmp_path):
    def stop(event):
        if event["done"] >= 2:
            raise KeyboardInterrupt

    options = {"learning_rate": 1e-2, "processes": 2, "checkpoint_every": 1}
    request = TuningRequest(base, *data, train_steps=300, batch_size=8, options=options)
    with pytest.raises(KeyboardInterrupt):
        backend.tune(request, str(tmp_path), stop)
    assert [one for one in children() if "tunepipe" in one] == []


def children():
    """The command lines of the processes that this one has started."""
    found = subprocess.run(
        ["ps", "--ppid", str(os.getpid()), "-o", "args="], capture_output=True, text=True
    )
    return found.stdout.splitlines()
