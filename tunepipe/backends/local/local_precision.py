"""In how many bits a model computes."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch


def dtype_of(precision: str, device: str) -> torch.dtype:
    """Return the type in which a model computes.

    Args:
        precision: "float32" or "bfloat16"; "" takes bfloat16 on a GPU that computes in it, else
            float32. GPUs before Ampere only emulate it, slowly.
        device: "cpu", "cuda" or "cuda:N".
    """
    if precision:
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    has_it = device != "cpu" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if has_it else torch.float32


def computing_in(dtype: torch.dtype, device: torch.device) -> AbstractContextManager[Any]:
    """Compute in `dtype` where that keeps precision, whatever the weights are stored in."""
    if dtype == torch.float32:
        return nullcontext()
    lower: AbstractContextManager[Any] = torch.autocast(device.type, dtype=dtype)
    return lower
