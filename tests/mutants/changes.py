"""The wrong changes that can be made to a module: one operator, constant or statement each."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], str] = {
    ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.FloorDiv: "*", ast.Mod: "*",
}  # fmt: skip


@dataclass(frozen=True)
class Change:
    """One wrong change: the text between two places of a file becomes another."""

    file: Path
    line: int
    start: int
    end: int
    before: str
    after: str

    def apply(self, text: str) -> str:
        """Return a module's text with the change."""
        data = text.encode()
        assert data[self.start : self.end].decode() == self.before
        return (data[: self.start] + self.after.encode() + data[self.end :]).decode()

    def __str__(self) -> str:
        before, after = (" ".join(one.split())[:60] for one in (self.before, self.after))
        return f"{self.file}:{self.line}  {before}  ->  {after}"


def changes_of(path: Path, name: Path) -> list[Change]:
    """List the changes of a module's functions, in the order of its lines.

    Args:
        path: The file.
        name: How it is called in the changes.
    """
    text = path.read_text(encoding="utf-8")
    starts = [0]
    for line in text.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def change(node: ast.expr | ast.stmt, after: str) -> Change:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset
        return Change(name, node.lineno, start, end, text.encode()[start:end].decode(), after)

    tree = ast.parse(text)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    found: set[Change] = set()
    for function in functions:
        for statement in function.body:
            for node in _walk(statement):
                found |= {change(node, after) for after in _replacements(node)}
    return sorted(found, key=lambda each: (each.start, each.after))


def _walk(statement: ast.stmt) -> Iterator[ast.expr | ast.stmt]:
    """Yield what may be changed: no annotation, no text of an error, nothing of a debugger."""
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Raise | ast.Import | ast.ImportFrom | ast.JoinedStr | ast.Assert):
            continue
        if isinstance(node, ast.expr | ast.stmt):
            yield node
        for field, value in ast.iter_fields(node):
            if field not in ("annotation", "returns", "decorator_list", "type_params"):
                children = value if isinstance(value, list) else [value]
                waiting += [child for child in children if isinstance(child, ast.AST)]


def _replacements(node: ast.expr | ast.stmt) -> Iterator[str]:
    match node:
        case ast.Compare(left, [operator], [right]):
            yield f"{_text(left)} {_COMPARISONS[type(operator)]} {_text(right)}"
        case ast.BoolOp(operator, values):
            word = " or " if isinstance(operator, ast.And) else " and "
            yield f"({word.join(_text(value) for value in values)})"
        case ast.BinOp(left, operator, right) if type(operator) in _ARITHMETIC:
            yield f"({_text(left)} {_ARITHMETIC[type(operator)]} {_text(right)})"
        case ast.UnaryOp(ast.Not(), operand):
            yield _text(operand)
        case ast.Constant(bool(value)):
            yield str(not value)
        case ast.Constant(int(value) | float(value)):
            # One more than a thousand makes no difference that anyone could see.
            yield str(value + 1 if abs(value) < 1000 else 10 * value)
        case ast.Return(value) if value is not None and not isinstance(value, ast.Constant):
            yield "return None"
        case ast.Expr(ast.Call()):
            yield "pass"
        case ast.Continue():
            yield "break"
        case ast.Break():
            yield "continue"
        case ast.IfExp(test, body, orelse):
            yield f"({_text(orelse)} if {_text(test)} else {_text(body)})"


def _text(node: ast.expr) -> str:
    return f"({ast.unparse(node)})"
