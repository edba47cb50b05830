"""What vLLM is asked, by a package in its place that writes it down; the real one needs a GPU."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from transformers import AutoConfig

from tests.backends.local.models import write_base
from tunepipe.backends.base import Answer, Prompt
from tunepipe.backends.local import vllm
from tunepipe.backends.local.base_model import load_tokenizer
from tunepipe.backends.local.options import PredictionOptions
from tunepipe.backends.remote import worker
from tunepipe.errors import TunepipeError, UsageError

PACKAGE = {
    "__init__.py": """
from types import SimpleNamespace as Namespace
SEEN = {}
def SamplingParams(**settings):
    SEEN["sampling"] = settings
class LLM:
    def __init__(self, **settings):
        if settings["max_model_len"] < 5:
            raise ValueError("too short")
        SEEN["engine"] = settings
    def get_default_sampling_params(self):
        return Namespace(repetition_penalty=1.25)
    def generate(self, prompts, sampling, **settings):
        SEEN["request"] = settings
        SEEN["prompts"] = [prompt["prompt_token_ids"] for prompt in prompts]
        return [Namespace(outputs=[Namespace(token_ids=ids[1:3])]) for ids in SEEN["prompts"]]
""",
    "platforms.py": """
from types import SimpleNamespace
current_platform = SimpleNamespace(device_type="cuda")
""",
    "lora/__init__.py": "",
    "lora/request.py": """
def LoRARequest(*fields):
    return fields
""",
}
PROMPTS = [Prompt(str(n), [{"role": "user", "content": f"code of item {n}"}]) for n in range(2)]


@pytest.fixture
def seen(tmp_path, monkeypatch):
    """What the package was asked for."""
    for name, text in PACKAGE.items():
        file = tmp_path / "packages" / "vllm" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    for name in [name for name in sys.modules if name.partition(".")[0] == "vllm"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    for name in ("VLLM_NO_USAGE_STATS", "VLLM_LOGGING_LEVEL"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    import vllm as package

    yield package.SEEN
    for name in [name for name in sys.modules if name.partition(".")[0] == "vllm"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_base(tmp_path_factory.mktemp("base"))


def adapter(folder: Path, base: str, rank: int, **more: object) -> str:
    folder.mkdir(exist_ok=True)
    for file in Path(base).glob("*token*"):
        shutil.copy(file, folder)
    for file in Path(base).glob("*.jinja"):
        shutil.copy(file, folder)
    content = {"base_model_name_or_path": base, "r": rank, **more}
    (folder / "adapter_config.json").write_text(json.dumps(content))
    return str(folder)


def ask(name: str, **settings: object) -> list[Answer]:
    return list(vllm.generate(name, PROMPTS, PredictionOptions(**settings), "cpu"))


@pytest.mark.parametrize(("rank", "largest"), [(0, 8), (8, 8), (9, 16), (512, 512), (513, 513)])
def test_a_model_and_an_adapter_over_it_are_asked_greedily(base, seen, tmp_path, rank, largest):
    name = adapter(tmp_path / "adapter", base, rank) if rank else base
    found = ask(name, max_output_tokens=7, precision="bfloat16")
    tokenizer = load_tokenizer(base)
    assert found == [Answer("0", "code of item 0"), Answer("1", "code of item 1")]
    assert 0 < seen["engine"].pop("gpu_memory_utilization") < 0.9
    assert seen["engine"] == {
        "model": base, "revision": None, "tokenizer_revision": None, "dtype": "bfloat16",
        "max_model_len": max(map(len, seen["prompts"])) + 7, "enable_lora": rank > 0,
        "max_lora_rank": largest, "disable_log_stats": True,
    }  # fmt: skip
    assert seen["sampling"] == {
        "temperature": 0.0, "repetition_penalty": 1.25, "max_tokens": 7, "detokenize": False,
        "stop_token_ids": [tokenizer.convert_tokens_to_ids("<|end|>")],
    }  # fmt: skip
    request = ("tuned", 1, name) if rank else None
    assert seen["request"] == {"use_tqdm": False, "lora_request": request}


def test_no_more_is_read_than_the_model_can(base, seen):
    long = Prompt("2", [{"role": "user", "content": "code of item 0 " * 99}])
    options = PredictionOptions(max_output_tokens=10_000)
    found = list(vllm.generate(base, [long, *PROMPTS], options, "cpu"))
    assert seen["engine"]["max_model_len"] == 256
    assert [(answer.id, answer.text is None) for answer in found] == [
        ("2", True), ("0", False), ("1", False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "where"),
    [({"four_bit": True}, "four_bit"), ({"device": "cpu"}, "device"), ({"device": "cuda"}, "")],
)
def test_what_vllm_cannot_do_is_refused(base, seen, settings, where):
    if not where:
        assert len(ask(base, **settings)) == 2
        return
    with pytest.raises(UsageError, match="vLLM computes on cuda here") as caught:
        ask(base, **settings)
    assert caught.value.where == where


def test_why_vllm_does_not_start_is_said(base, seen):
    no_prompts = vllm.generate(base, [], PredictionOptions(max_output_tokens=4), "cpu")
    with pytest.raises(TunepipeError, match="vLLM failed: too short"):
        list(no_prompts)


def test_vllm_is_taken_unasked_for_a_large_model_with_many_prompts_on_any_gpu(seen, tmp_path):
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(2**30)
    assert vllm.is_worth_its_start("org/model", 64, "cuda")
    for name, prompts, device in (
        (str(tmp_path), 64, "cuda"), ("org/model", 63, "cuda"), ("org/model", 64, "cuda:1"),
        ("org/model", 64, "cpu"),
    ):  # fmt: skip
        assert not vllm.is_worth_its_start(name, prompts, device)
    with (tmp_path / "model.safetensors").open("ab") as file:
        file.truncate(2**30 + 1)
    assert vllm.is_worth_its_start(str(tmp_path), 64, "cuda")


@pytest.mark.parametrize(
    ("settings", "by_vllm"),
    [
        ({}, True),
        ({"four_bit": False}, True),
        ({"four_bit": True}, False),
        ({"engine": "transformers"}, False),
    ],
)
def test_a_custom_job_asks_vllm_where_it_is_installed(base, seen, tmp_path, settings, by_vllm):
    task = {
        "kind": "predict", "model": base, "prompts": [asdict(prompt) for prompt in PROMPTS],
        "settings": {"max_output_tokens": 3, **settings},
    }  # fmt: skip
    (tmp_path / "task.json").write_text(json.dumps(task))
    worker.main(str(tmp_path / "task.json"))
    answers = (tmp_path / "answers.jsonl").read_text().splitlines()
    assert {json.loads(line)["id"] for line in answers} == {"0", "1"}
    assert ("prompts" in seen) == by_vllm


@pytest.mark.parametrize(
    ("kind", "more", "fault"),
    [
        ("llama", {}, ""),
        ("qwen3_5_text", {"alpha_pattern": {}, "rank_pattern": {}}, ""),
        ("gemma3", {}, ""),
        ("gemma4", {}, ""),
        ("qwen3_5", {}, "over the text part of qwen3_5"),
        ("llama4", {}, "over the text part of llama4"),
        ("llama", {"alpha_pattern": {"q_proj": 8}}, "no rank or alpha of single modules"),
        ("llama", {"rank_pattern": {"q_proj": 8}}, "no rank or alpha of single modules"),
    ],
)
def test_an_adapter_that_vllm_would_leave_out_is_not_given_to_it(seen, tmp_path, kind, more, fault):
    """It would answer as the base, or with another scale, and say nothing."""
    AutoConfig.for_model(kind).save_pretrained(tmp_path / "base")
    name = adapter(tmp_path / "adapter", str(tmp_path / "base"), 8, **more)
    assert vllm.can_answer(str(tmp_path / "base"))
    assert vllm.can_answer(name) == (not fault)
    with (tmp_path / "base" / "model.safetensors").open("wb") as file:
        file.truncate(2**30 + 1)
    assert vllm.is_worth_its_start(name, 64, "cuda") == (not fault)
    if fault:
        with pytest.raises(UsageError, match=fault) as caught:
            ask(name)
        assert (caught.value.where, "merge=true" in caught.value.fix) == ("engine", True)


def test_without_vllm_nothing_is_given_to_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not vllm.can_answer("org/model")
