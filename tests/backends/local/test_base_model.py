"""Base models that are loaded whole, and those that are refused before anything runs."""

from __future__ import annotations

import json
import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tests.backends.local.models import random_model, rows, write_base, write_rows
from tunepipe.backends.base import Prompt, TuningRequest
from tunepipe.backends.local import backend
from tunepipe.backends.local.base_model import load_tokenizer
from tunepipe.errors import DataError, UsageError

needs_bitsandbytes = pytest.mark.skipif(
    not find_spec("bitsandbytes"), reason="bitsandbytes is not installed"
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return Path(write_base(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return write_rows(folder / "train.jsonl", rows(8)), write_rows(folder / "eval.jsonl", rows(2))


def tune(base, data, out, **options):
    options = {"learning_rate": 1e-2, **options}
    request = TuningRequest(str(base), *data, train_steps=3, batch_size=4, options=options)
    return backend.tune(request, str(out), lambda event: None)


def with_weights(change):
    def broken(folder):
        weights = load_file(folder / "model.safetensors")
        changed = {name: tensor.contiguous() for name, tensor in change(weights).items()}
        save_file(changed, folder / "model.safetensors", metadata={"format": "pt"})

    return broken


def with_prefix(prefix):
    return with_weights(lambda weights: {prefix + name: w for name, w in weights.items()})


def with_config(**changes):
    def broken(folder):
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return broken


def without_layer(weights):
    return {name: w for name, w in weights.items() if "layers.1" not in name}


def with_bytes(make):
    def broken(folder):
        file = folder / "model.safetensors"
        file.write_bytes(make(file.read_bytes()))

    return broken


def without_shard(folder):
    model = AutoModelForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="100KB")
    sorted(folder.glob("model-*.safetensors"))[1].unlink()


def without(*names):
    def broken(folder):
        for name in names:
            (folder / name).unlink()

    return broken


def as_folder(name):
    def broken(folder):
        (folder / name).unlink()
        (folder / name).mkdir()

    return broken


def as_gguf(folder):
    (folder / "model.safetensors").rename(folder / "model.gguf")


class Code:
    """What a pickle should not do."""

    def __reduce__(self):
        return os.remove, ("no-file",)


def as_pickle(change, cut=lambda content: content):
    def broken(folder):
        torch.save(change(load_file(folder / "model.safetensors")), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
        content = (folder / "pytorch_model.bin").read_bytes()
        (folder / "pytorch_model.bin").write_bytes(cut(content))

    return broken


def with_text(name, text):
    def broken(folder):
        (folder / name).write_text(text)

    return broken


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 123\n"
GPTQ = {"quantization_config": {"quant_method": "gptq", "bits": 4}}
AUTO_MAP = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
CASES = {
    "compiled": (with_prefix("_orig_mod."), r"21 are missing .*'_orig_mod\.'"),
    "parallel": (with_prefix("module."), r"21 are not the model's .*'module\.'"),
    "under peft": (with_prefix("base_model.model."), r"'base_model\.model\.'"),
    "a layer missing": (with_weights(without_layer), r"9 are missing \(model\.layers\.1\."),
    "one too many": (
        with_weights(lambda w: {**w, "extra.weight": torch.zeros(2)}),
        r"1 are not the model's \(extra\.weight\)",
    ),
    "another shape": (
        with_config(intermediate_size=96),
        r"6 are of another shape \(model\.layers\.0\.mlp\.down_proj\.weight, ",
    ),
    "cut off": (with_bytes(lambda b: b[:-99]), r"model\.safetensors is broken or cut off"),
    "empty": (with_bytes(lambda b: b""), r"model\.safetensors is empty"),
    "an LFS pointer": (with_bytes(lambda b: LFS), r"model\.safetensors is a Git LFS pointer"),
    "a shard missing": (without_shard, r"lacks 1 of its \d files of weights \(model-00002"),
    "a pickle that is cut off": (
        as_pickle(lambda weights: weights, lambda b: b[:-500]),
        r"pytorch_model\.bin is broken or cut off",
    ),
    "a pickle with code": (as_pickle(lambda weights: {"x": Code()}), "holds more than weights"),
    "a pickle with a prefix": (
        as_pickle(lambda weights: {f"module.{name}": w for name, w in weights.items()}),
        r"'module\.'",
    ),
    "a broken index": (
        with_text("model.safetensors.index.json", "{"),
        r"model\.safetensors\.index\.json is broken",
    ),
    "a tokenizer's LFS pointer": (
        with_text("tokenizer.json", LFS.decode()),
        r"tokenizer\.json is a Git LFS pointer",
    ),
    "an index of nothing": (
        with_text("model.safetensors.index.json", "[]"),
        r"model\.safetensors\.index\.json has no weight_map",
    ),
    "a folder for weights": (as_folder("model.safetensors"), r"model\.safetensors is a folder"),
    "a tokenizer of nothing": (with_text("tokenizer.json", "{}"), r"\(KeyError: 'added_tokens'\)"),
    "a tokenizer of a later version": (
        with_text("tokenizer.json", '{"added_tokens": [], "model": {"type": "New"}}'),
        r"holds no model in Hugging Face layout \(",
    ),
    "settings of a tokenizer that are a list": (
        with_text("tokenizer_config.json", "[]"),
        r"\(AttributeError: ",
    ),
    "a configuration of nothing": (with_text("config.json", "null"), r"\(TypeError: "),
    "a number as a text": (
        with_config(hidden_size="64"),
        r"expected int, got str \(value: '64'\)",
    ),
    "heads that do not divide": (with_config(num_attention_heads=7), "not a multiple of"),
    "an unknown activation": (with_config(hidden_act="nope"), r"\(KeyError: 'nope'\)"),
    "an adapter of nothing": (with_text("adapter_config.json", "[]"), "names no base model"),
    "an adapter of a number": (
        with_text("adapter_config.json", '{"base_model_name_or_path": 3}'),
        "names no base model",
    ),
    "an unknown kind": (with_config(model_type="llama9"), "has model type `llama9`"),
    "no weights": (without("model.safetensors"), "holds no model in Hugging Face layout"),
    "no tokenizer": (
        without("tokenizer.json", "tokenizer_config.json"),
        "the folder holds no tokenizer",
    ),
    "GGUF": (as_gguf, "it is a GGUF file"),
    "GPTQ": (with_config(**GPTQ), "quantized by gptq"),
    "an encoder": (
        with_config(model_type="bert", architectures=["BertForMaskedLM"]),
        "it is a BertForMaskedLM",
    ),
    "code of its own": (with_config(model_type="own", auto_map=AUTO_MAP), "needs Python code"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_no_whole_model_is_refused_before_anything_runs(base, data, tmp_path, name):
    broken, message = CASES[name]
    folder = tmp_path / "base"
    shutil.copytree(base, folder)
    broken(folder)
    with pytest.raises(UsageError, match=f"(?s){message}") as caught:
        backend.check(str(folder), {})
    assert caught.value.fix
    assert str(folder) in caught.value.where
    with pytest.raises(UsageError, match=f"(?s){message}"):  # and by the step on a cluster
        tune(folder, data, tmp_path / "out")
    assert not (tmp_path / "out" / "tuning.json").exists()


def test_code_of_a_model_is_never_run(base, tmp_path):
    folder = tmp_path / "base"
    shutil.copytree(base, folder)
    with_config(model_type="own", auto_map=AUTO_MAP)(folder)
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    with pytest.raises(UsageError):
        backend.check(str(folder), {})
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("bloom", {"n_layer": 2, "n_head": 2}),
        ("gpt2", {"n_embd": 64, "n_layer": 2, "n_head": 2}),
        ("qwen3", {"head_dim": 32}),
        ("gemma3_text", {"head_dim": 32}),
        ("mixtral", {"num_local_experts": 4}),
        ("gpt_oss", {"head_dim": 32, "num_local_experts": 4}),
        ("phi3", {}),
        ("lfm2", {"layer_types": ["conv", "full_attention"]}),
    ],
)
def test_trl_trains_models_of_many_kinds(data, tmp_path, kind, shape):
    base = write_base(tmp_path / "base", kind, **shape)
    backend.check(base, {})
    found = tune(base, data, tmp_path / "out").statistics
    assert found["final_loss"] < found["untrained_loss"]


@pytest.mark.parametrize("keys", [("pad_token",), ("pad_token", "eos_token")])
def test_a_tokenizer_without_pad_or_end_works_where_the_template_ends_answers(
    base, data, tmp_path, keys
):
    folder = tmp_path / "base"
    shutil.copytree(base, folder)
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    file.write_text(json.dumps({k: v for k, v in settings.items() if k not in keys}))
    backend.check(str(folder), {})
    found = tune(folder, data, tmp_path / "out")
    (answer,) = backend.predict(found.model, [Prompt("a", [{"role": "user", "content": "?"}])])
    assert answer.text is not None


def test_a_tokenizer_that_ends_nothing_is_refused(base, tmp_path):
    folder = tmp_path / "base"
    shutil.copytree(base, folder)
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    del settings["eos_token"]
    file.write_text(json.dumps(settings))
    (folder / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m.content }}{% endfor %}"
    )
    with pytest.raises(UsageError, match="no token that ends an answer"):
        backend.check(str(folder), {})


def test_weights_that_are_no_numbers_are_named_and_not_the_rate(base, data, tmp_path):
    folder = tmp_path / "base"
    shutil.copytree(base, folder)
    with_weights(lambda weights: {name: w * torch.nan for name, w in weights.items()})(folder)
    with pytest.raises(DataError, match="the loss before training is not a number") as caught:
        tune(folder, data, tmp_path / "out")
    assert caught.value.where == "base_model"


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_tokens_beyond_the_embedding_enlarge_it(base, data, tmp_path, mode):
    folder = tmp_path / "base"
    shutil.copytree(base, folder)
    tokenizer = load_tokenizer(str(folder))
    tokenizer.add_special_tokens({"pad_token": "<|added|>"})
    tokenizer.save_pretrained(folder)
    found = tune(folder, data, tmp_path / "out", tuning_mode=mode)
    assert f"enlarged to the {len(tokenizer):,} tokens" in found.statistics["note"]
    for model in (str(folder), found.model):
        (answer,) = backend.predict(model, [Prompt("a", [{"role": "user", "content": "?"}])])
        assert answer.text is not None


def test_an_adapter_is_a_base_to_go_on_from(base, data, tmp_path):
    first = tune(base, data, tmp_path / "first", lora_rank=4)
    backend.check(first.model, {})
    second = tune(first.model, data, tmp_path / "second")
    found = second.statistics
    assert found["untrained_loss"] == pytest.approx(first.statistics["final_loss"], abs=1e-4)
    assert found["final_loss"] < found["untrained_loss"]
    config = json.loads((tmp_path / "second" / "adapter_config.json").read_text())
    assert (config["r"], config["base_model_name_or_path"]) == (4, str(base))
    whole = tune(first.model, data, tmp_path / "whole", tuning_mode="full").statistics
    assert whole["untrained_loss"] == pytest.approx(found["untrained_loss"], abs=1e-4)


def without_half(folder):
    file = folder / "adapter_model.safetensors"
    names = load_file(file)
    kept = {name: names[name] for name in sorted(names)[::2]}
    save_file(kept, file, metadata={"format": "pt"})


ADAPTERS = {
    "half of it": (without_half, r"14 are missing \(base_model\.model\.model\.layers\.0"),
    "no weights": (without("adapter_model.safetensors"), r"adapter_model\.safetensors is missing"),
    "an LFS pointer": (
        with_text("adapter_model.safetensors", LFS.decode()),
        r"adapter_model\.safetensors is a Git LFS pointer",
    ),
    "a broken file": (with_text("adapter_config.json", "{"), r"adapter_config\.json is broken"),
    "no base": (with_text("adapter_config.json", "{}"), "names no base model"),
}


@pytest.mark.parametrize("name", ADAPTERS)
def test_what_is_no_whole_adapter_is_refused_before_anything_runs(base, tmp_path, name):
    broken, message = ADAPTERS[name]
    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(tmp_path)
    load_tokenizer(str(base)).save_pretrained(tmp_path)
    backend.check(str(tmp_path), {})
    broken(tmp_path)
    with pytest.raises(UsageError, match=message):
        backend.check(str(tmp_path), {})


@needs_bitsandbytes
def test_a_model_in_four_bits_is_tuned_as_it_is(base, data, tmp_path):
    from tunepipe.backends.local.options import LocalOptions
    from tunepipe.backends.local.pretrained import load_base

    four_bit = load_base(
        str(base), load_tokenizer(str(base)), LocalOptions(tuning_mode="qlora"), "cpu"
    )
    four_bit.save_pretrained(tmp_path / "base")
    load_tokenizer(str(base)).save_pretrained(tmp_path / "base")
    backend.check(str(tmp_path / "base"), {})
    shutil.copytree(tmp_path / "base", tmp_path / "broken")
    with_weights(without_layer)(tmp_path / "broken")
    with pytest.raises(UsageError, match="9 are missing"):
        backend.check(str(tmp_path / "broken"), {})
    found = tune(tmp_path / "base", data, tmp_path / "out")
    assert found.statistics["final_loss"] < found.statistics["untrained_loss"]
    assert "qlora" in found.statistics["note"]
    (answer,) = backend.predict(found.model, [Prompt("a", [{"role": "user", "content": "?"}])])
    assert answer.text is not None
    for options in ({"tuning_mode": "full"}, {"merge": True}):
        with pytest.raises(UsageError, match="neither tuned in full nor merged"):
            backend.check(str(tmp_path / "base"), options)
        with pytest.raises(UsageError, match="neither tuned in full nor merged"):
            tune(tmp_path / "base", data, tmp_path / "no", **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lora_rnak": 8}, "did you mean lora_rank"),
        ({"accelerate_config": "fsdp3"}, "no accelerate configuration 'fsdp3'"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_runs(base, options, message):
    with pytest.raises(UsageError) as caught:
        backend.check(str(base), options)
    assert message in str(caught.value)


def test_the_check_takes_no_weights_into_memory(tmp_path):
    """100 M parameters, whose file is 400 MB, in less than 50 MB."""
    import resource

    model = random_model("llama", hidden_size=1024, intermediate_size=8192, num_hidden_layers=3)
    model.save_pretrained(tmp_path)
    load_tokenizer(write_base(tmp_path / "small")).save_pretrained(tmp_path)
    del model
    backend.check(str(tmp_path), {})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    backend.check(str(tmp_path), {})
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024
