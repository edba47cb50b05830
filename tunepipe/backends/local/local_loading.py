"""Finding what lies in a folder or in the hub, and the tokenizer there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tunepipe.errors import UsageError


@contextmanager
def loading(name: str, what: str = "base_model") -> Iterator[dict[str, Any]]:
    """Yield the arguments that `from_pretrained` needs for `name`; explain what goes wrong.

    Args:
        name: A folder or a hub id.
        what: What the user named it for.

    Raises:
        UsageError: There is no such folder or hub id, or the hub cannot be reached.
    """
    local = Path(name).is_dir()
    try:
        yield {"local_files_only": local}
    except (OSError, ValueError) as error:
        raise UsageError(
            "the folder holds no model in Hugging Face layout"
            if local
            else f"it can be loaded neither from a folder nor from the hub "
            f"({type(error).__name__})",
            where=f"{what} {name}",
            fix="name a folder with config.json, tokenizer and safetensors"
            if local
            else "check the name and the network, log in for gated models (hf auth login), "
            "or download the model and name its folder",
        ) from error


def load_tokenizer(name: str, what: str = "base_model") -> Any:
    """Load the tokenizer of a folder or hub id; one without a padding token pads with its end."""
    from transformers import AutoTokenizer

    with loading(name, what) as where:
        tokenizer = AutoTokenizer.from_pretrained(name, **where)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
