"""Small JSON files of a registry, each about one run, such as `outcomes/RUN.json`.

A registry is a folder or a gs:// prefix; "" is none, which keeps nothing and knows nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tunepipe.stores import storage


def address(registry: str, name: str) -> str:
    """Return the address of a file or a folder of a registry, such as moves."""
    return f"{registry.rstrip('/')}/{name}"


def write(registry: str, name: str, fields: Mapping[str, Any]) -> None:
    """Write a record; one that holds the same is left as it is."""
    if registry:
        data = json.dumps(dict(fields), ensure_ascii=False, indent=1).encode()
        storage.write_new(data, address(registry, name))


def read(registry: str, name: str) -> dict[str, Any] | None:
    """Read a record; None if there is none."""
    if not registry or not storage.exists(address(registry, name)):
        return None
    return dict(json.loads(storage.read_bytes(address(registry, name))))
