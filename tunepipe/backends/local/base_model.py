"""Reads a base model's folder and refuses, in one line, a model that is broken or unusable.

The tensors are compared by transformers' own loader on the device `meta`, which reads the headers
of the files and no weight. So a run that could only fail, or that would tune random weights, ends
in its first second.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any
from zipfile import is_zipfile

from tunepipe.backends.local.options import LocalOptions
from tunepipe.errors import UsageError

if TYPE_CHECKING:
    import torch

ADAPTER = "adapter_config.json"
_PREFIXES = ("_orig_mod.", "module.", "base_model.model.")
_WRITERS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
_DOWNLOAD = "download it again, whole (git lfs pull, or hf download)"
_NAMED = 3  # tensors that a message names
_REASON_CHARACTERS = 200


def check_base_model(name: str, options: LocalOptions) -> Any:
    """Refuse a base model that cannot be tuned, before anything runs; return its configuration.

    Of a hub id configuration and tokenizer are looked at; its weights are not loaded for this.
    """
    whole = whole_model_of(name)
    config = load_config(whole)
    load_tokenizer(name)
    if quantization_of(config) and (options.tuning_mode == "full" or options.merge):
        raise UsageError(
            "its weights are in 4 bits: they are neither tuned in full nor merged",
            where="merge" if options.merge else "tuning_mode",
            fix="leave it out: an adapter is trained over them",
        )
    for folder in (name, whole):
        if fault := weights_fault(Path(folder)):
            raise UsageError(fault, where=f"base_model {folder}", fix=_DOWNLOAD)
    if adapter_of(name):
        _check_adapter(name, config)
    if Path(whole).is_dir():
        require_whole(whole, _compare_tensors(whole, config))
    return config


def _compare_tensors(folder: str, config: Any) -> dict[str, Any]:
    """Compare a folder's tensors with those that its configuration describes.

    Of a model in 4 bits the names are compared: its matrices have other shapes, and more tensors.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.set_verbosity_error()
    is_packed, plain = bool(quantization_of(config)), deepcopy(config)
    if is_packed:
        del plain.quantization_config
    with loading(folder) as place:
        _, report = AutoModelForCausalLM.from_pretrained(
            config=plain,
            device_map="meta",
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are reported, and refused
            **place,
        )
    if is_packed:
        report["mismatched_keys"] = []
        report["unexpected_keys"] = [k for k in report["unexpected_keys"] if ".weight." not in k]
    return dict(report)


def _check_adapter(folder: str, config: Any) -> None:
    """Refuse an adapter that does not fit its base; its file's header is read, and no weight."""
    import torch
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
    from safetensors import safe_open
    from transformers import AutoModelForCausalLM

    where = f"base_model {folder}"
    if (kind := adapter_of(folder).get("peft_type")) != "LORA":
        raise UsageError(
            f"it is an adapter of the kind {kind}, and tuning continues from LoRA alone",
            where=where,
            fix="take its base, or merge it into its base",
        )
    try:
        with torch.device("meta"):
            base = AutoModelForCausalLM.from_config(config)
            model = get_peft_model(base, LoraConfig.from_pretrained(folder))
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"the adapter does not fit its base: {error}", where=where, fix="name its own base"
        ) from error
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    expected = {key: list(tensor.shape) for key, tensor in state.items() if "lora_" in key}
    file = Path(folder, "adapter_model.safetensors")
    if not file.exists():  # older ones are pickled, and have no header
        return
    with safe_open(file, "pt") as content:
        names = [key for key in content.keys() if "lora_" in key]  # noqa: SIM118  (no mapping)
        shapes = {key: content.get_slice(key).get_shape() for key in names}
    both = expected.keys() & shapes.keys()
    report = {
        "missing_keys": expected.keys() - both,
        "unexpected_keys": shapes.keys() - both,
        "mismatched_keys": [(key,) for key in both if shapes[key] != expected[key]],
    }
    require_whole(folder, report)


@contextmanager
def loading(name: str, what: str = "base_model") -> Iterator[dict[str, Any]]:
    """Yield the arguments that `from_pretrained` needs for `name`; explain what goes wrong.

    A folder is never looked up in the hub, and no code of a model's own is run. `name` may have a
    revision; `what` is the parameter that named it.
    """
    is_folder = Path(name).is_dir()
    hub_id, revision = split_revision(name)
    try:
        yield {
            "pretrained_model_name_or_path": hub_id,
            "revision": revision or "main",
            "local_files_only": is_folder,
            "trust_remote_code": False,
        }
    except (UsageError, ImportError):
        raise
    except Exception as error:  # the packages raise what their parsers and constructors raise
        if "trust_remote_code" in str(error):
            found = "it needs Python code of its own, which is never run here"
            fix = "take a model whose kind transformers knows"
        elif is_folder:
            found, fix = _folder_fault(Path(name), error)
        elif Path(name).exists() or name.startswith(("/", "./", "../")):
            found = "it is a file" if Path(name).exists() else "this folder does not exist"
            fix = "name a folder with config.json, tokenizer and safetensors, or a hub id"
        else:
            found = f"it can be loaded neither from a folder nor from the hub: {_first_line(error)}"
            fix = (
                "check the name, the revision and the network, log in for gated models (hf auth "
                "login), or download the model and name its folder"
            )
        raise UsageError(found, where=f"{what} {name}", fix=fix) from error


def require_whole(name: str, report: Mapping[str, Any]) -> None:
    """Refuse a model whose loading report (`output_loading_info`) shows tensors not its own."""
    faults = {
        "missing": sorted(report["missing_keys"]),
        "not the model's": sorted(report["unexpected_keys"]),
        "of another shape": sorted(key for key, *_ in report["mismatched_keys"]),
    }
    if not any(faults.values()):
        return
    tensors = [f"{len(keys)} are {what} ({_some(keys)})" for what, keys in faults.items() if keys]
    strays = faults["not the model's"]
    prefix = next((p for p in _PREFIXES if strays and strays[0].startswith(p)), "")
    raise UsageError(
        f"its tensors are not those of its configuration: {'; '.join(tensors)}",
        where=f"base_model {name}",
        fix=f"the names begin with {prefix!r}, as a wrapped model's do: save the model inside"
        if prefix
        else "save the model again whole, with save_pretrained, or take another",
    )


def load_config(name: str) -> Any:
    """Load a configuration; a UsageError unless its model writes text and can be tuned."""
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    where = f"base_model {name}"
    files = {file.suffix for file in Path(name).glob("*")}
    if name.endswith(".gguf") or (".gguf" in files and ".safetensors" not in files):
        raise UsageError(
            "it is a GGUF file, which llama.cpp reads and nothing tunes",
            where=where,
            fix="take the model in safetensors that it was made from",
        )
    with loading(name) as place:
        config = AutoConfig.from_pretrained(**place)
    architectures = config.architectures or []
    reads_only = architectures and not any(kind.endswith(_WRITERS) for kind in architectures)
    if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or reads_only:
        raise UsageError(
            f"it is a {(architectures or [config.model_type])[0]}, of the kind "
            f"{config.model_type}, and no model that only writes text",
            where=where,
            fix="take one that does, such as a Llama, a Qwen or a Gemma",
        )
    method = quantization_of(config)
    if method and method != "bitsandbytes":
        raise UsageError(
            f"its weights are quantized by {method}, and cannot be tuned",
            where=where,
            fix="take the model that they were made from, with tuning_mode qlora where memory is "
            "short",
        )
    if method:
        require_bitsandbytes(where)
    return config


def load_tokenizer(name: str, what: str = "base_model") -> Any:
    """Load a tokenizer, able to pad and to end an answer; `what` is the parameter that named it."""
    from transformers import AutoTokenizer

    from tunepipe.backends.chat_template import end_ids

    where = f"{what} {name}"
    folder = Path(name)
    if folder.is_dir() and not any(folder.glob("tokenizer*")) and not any(folder.glob("*.model")):
        raise UsageError(
            "the folder holds no tokenizer",
            where=where,
            fix="copy tokenizer.json and tokenizer_config.json of the model into it",
        )
    with loading(name, what) as place:
        tokenizer = AutoTokenizer.from_pretrained(**place)
    if tokenizer.pad_token_id is None:
        # Padding is masked, so any token will do.
        tokenizer.pad_token = (
            tokenizer.eos_token or tokenizer.unk_token or tokenizer.convert_ids_to_tokens(0)
        )
    if not end_ids(tokenizer):
        raise UsageError(
            "its tokenizer has no token that ends an answer",
            where=where,
            fix="set eos_token in its tokenizer_config.json",
        )
    return tokenizer


def context_of(config: Any) -> int:
    """Return how many tokens a model reads, the answer's included."""
    text = config.get_text_config()
    # BLOOM and MPT, whose attention knows no last position, name no number, or another.
    reads = getattr(text, "max_position_embeddings", None) or getattr(text, "seq_length", None)
    return reads or sys.maxsize


def quantization_of(config: Any) -> str:
    """Return the method that already quantized a model's files; "" for none."""
    settings = getattr(config, "quantization_config", None) or {}
    settings = settings if isinstance(settings, dict) else settings.to_dict()
    method = settings.get("quant_method", "")
    return str(getattr(method, "value", method))


def require_bitsandbytes(where: str) -> None:
    """Refuse weights in 4 bits where the package for them is missing."""
    if not importlib.util.find_spec("bitsandbytes"):
        raise UsageError(
            "weights in 4 bits need the package bitsandbytes, which is not installed",
            where=where,
            fix="pip install bitsandbytes, or do without",
        )


def adapter_of(name: str) -> dict[str, Any]:
    """Return the configuration of a folder's adapter; {} for a whole model."""
    file = Path(name) / ADAPTER
    if not file.exists():
        return {}
    fault = file_fault(file)
    content = {} if fault else json.loads(file.read_text(encoding="utf-8"))
    base = content.get("base_model_name_or_path") if isinstance(content, dict) else None
    if not isinstance(base, str) or not base:
        raise UsageError(
            fault or f"{ADAPTER} names no base model",
            where=f"base_model {name}",
            fix=_DOWNLOAD if fault else "set base_model_name_or_path in it",
        )
    return dict(content)


def whole_model_of(name: str) -> str:
    """Return the folder or hub id of the whole model: an adapter's base, else `name` itself."""
    adapter = adapter_of(name)
    base, revision = adapter.get("base_model_name_or_path", name), adapter.get("revision")
    return f"{base}@{revision}" if revision else str(base)


def split_revision(name: str) -> tuple[str, str]:
    """Split ORG/MODEL@REVISION; the revision is "" for a folder, and where none is named."""
    if Path(name).is_dir():
        return name, ""
    hub_id, _, revision = name.partition("@")
    return hub_id, revision


def commit_of(name: str) -> str:
    """Return the commit of a hub id's files, which have been loaded; "" for a folder."""
    from transformers.utils import cached_file

    if Path(name).is_dir():
        return ""
    hub_id, revision = split_revision(name)
    file = cached_file(hub_id, "config.json", revision=revision or "main")
    return Path(str(file)).parent.name


def _folder_fault(folder: Path, error: Exception) -> tuple[str, str]:
    """Return what is wrong with a folder, and the fix."""
    faults = filter(None, map(file_fault, sorted(folder.glob("*.json"))))
    if fault := next(faults, "") or weights_fault(folder):
        return fault, _DOWNLOAD
    if isinstance(error, UnpicklingError):
        return (
            "its weights are a pickle that holds more than weights, which is not read",
            "take the model in safetensors",
        )
    reason = _first_line(error)
    if not isinstance(error, (OSError, ValueError, RuntimeError)):  # whose texts are for people
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:_REASON_CHARACTERS]}"
    return (
        f"the folder holds no model in Hugging Face layout ({reason})",
        "name a folder with config.json, tokenizer and safetensors",
    )


def weights_fault(folder: Path) -> str:
    """Return which file of weights is broken or missing; "" if none is."""
    indexes = [folder / f"{name}.index.json" for name in ("model.safetensors", "pytorch_model.bin")]
    indexes = [file for file in indexes if file.exists()]
    files = [*folder.glob("*.safetensors"), *folder.glob("*model*.bin")]
    if fault := next(filter(None, map(file_fault, sorted([*files, *indexes]))), ""):
        return fault
    if (folder / ADAPTER).exists() and not any("adapter" in file.name for file in files):
        return "adapter_model.safetensors is missing"
    for index in indexes:
        content = json.loads(index.read_text(encoding="utf-8"))
        weights = content.get("weight_map") if isinstance(content, dict) else None
        if not isinstance(weights, dict):
            return f"{index.name} has no weight_map, which names the files"
        shards = set(map(str, weights.values()))
        if missing := sorted(shard for shard in shards if not (folder / shard).exists()):
            count = f"{len(missing)} of its {len(shards)}"
            return f"it lacks {count} files of weights ({_some(missing)})"
    return ""


def file_fault(file: Path) -> str:
    """Return what is wrong with a file of weights or of JSON; "" for nothing that can be seen."""
    from safetensors import SafetensorError, safe_open

    if file.is_dir():
        return f"{file.name} is a folder"
    with file.open("rb") as content:
        first = content.read(40)
    if not first:
        return f"{file.name} is empty"
    if first.startswith(b"version https://git-lfs"):
        return f"{file.name} is a Git LFS pointer and not the file itself"
    try:
        if file.suffix == ".json":
            json.loads(file.read_text(encoding="utf-8"))
        elif file.suffix == ".safetensors":
            with safe_open(file, "pt"):
                pass
        elif first.startswith(b"PK") and not is_zipfile(file):
            return f"{file.name} is broken or cut off"
    except (OSError, ValueError, SafetensorError) as error:
        return f"{file.name} is broken or cut off ({error})"
    return ""


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def dtype_of(precision: str, device: str) -> torch.dtype:
    """Return a model's computing type; "" takes bfloat16 on a GPU that computes in it.

    GPUs before Ampere only emulate it, slowly.
    """
    import torch

    if precision:
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    has_it = device != "cpu" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if has_it else torch.float32
