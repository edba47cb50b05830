"""An archive whose bytes depend on nothing but the code that is in it."""

from __future__ import annotations

import ast
import io
import lzma
import re
import tarfile
import tokenize
from collections.abc import Mapping
from functools import cache


def archive(contents: Mapping[str, bytes]) -> bytes:
    """Pack files, by their paths in it, into a tar.xz that depends on names and bytes alone.

    xz, because it is an eighth smaller than gzip, and because gzip's bytes depend on which zlib a
    Python was built with.
    """
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(contents):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(contents[path]), 0o644
            tar.addfile(entry, io.BytesIO(contents[path]))
    return lzma.compress(packed.getvalue(), preset=9)


@cache
def without_docstrings(source: str) -> str:
    """Empty the docstrings and comments of a module, and leave every line where it is.

    A step has no reader. Without them a component is a third smaller, a change of words loses no
    execution cache, and a traceback still names the lines of the repository.
    """
    lines = source.split("\n")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        row, column = token.start
        if token.type == tokenize.COMMENT:
            lines[row - 1] = lines[row - 1][:column].rstrip()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            continue
        if ast.get_docstring(node, clean=False) is not None:
            text = node.body[0]
            lines[text.lineno - 1] = " " * text.col_offset + '""'
            for number in range(text.lineno, text.end_lineno or text.lineno):
                lines[number] = ""
    return "\n".join(lines)


def without_comments(table: str) -> str:
    """Leave the comments and the blank lines of a TOML table out, for the same reasons."""
    return re.sub(r"(?m)^[ \t]*(#.*)?\n|[ \t]+#[^\"'\n]*$", "", table)
