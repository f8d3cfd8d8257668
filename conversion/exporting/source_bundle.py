"""A bundle of source code: functions and classes of Axon, with their dependencies, for a file of its own.

A standalone export reads cells with the functions that the server reads cells with: their source is copied, so that no
second reader of dates and categories can drift away from the first.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

_OWN = ("conversion", "models")


@dataclass(frozen=True)
class Bundle:
    """The source of some definitions.

    Attributes:
        definitions: source of the definitions, each before those that need it.
        imports: modules that the definitions import, as `import` statements.
        froms: names that the definitions import, by module.
    """

    definitions: str
    imports: frozenset[str]
    froms: Mapping[str, frozenset[str]]


@dataclass
class _Module:
    """The top level of a module.

    Attributes:
        lines: lines of the source.
        definitions: node that defines each name.
        imports: `import` statement that binds each name.
        froms: module and name from which each name is imported.
    """

    lines: list[str]
    definitions: dict[str, ast.stmt] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)
    froms: dict[str, tuple[str, str]] = field(default_factory=dict)


class SourceBundler:
    """A collector of definitions from Axon's modules."""

    def __init__(self) -> None:
        self._modules: dict[str, _Module] = {}  # in the order in which their definitions are needed
        self._order: list[str] = []
        self._needed: dict[str, set[str]] = {}
        self._imports: set[str] = set()
        self._bound: dict[str, str] = {}  # `import` statement by the name that it binds
        self._froms: dict[str, set[str]] = {}

    def need(self, module: str, *names: str) -> None:
        """Collects definitions of a module with their dependencies.

        Args:
            module: dotted name of a module of Axon.
            names: names that the module defines.
        """
        for name in names:
            if name not in self._module(module).definitions:
                raise LookupError(f"{module} does not define {name}")
            self._need(module, name)

    def bundle(self) -> Bundle:
        """Returns the collected source."""
        texts: list[str] = []
        counts: dict[str, int] = {}
        for module in self._order:
            renamed = {}
            for name in sorted(self._needed[module]):
                counts[name] = counts.get(name, 0) + 1
                if counts[name] > 1:  # another module's definition has this name
                    renamed[name] = f"{name}_{counts[name]}"
            texts += self._texts(module, renamed)
        definitions = ""
        for before, text in zip(["", *texts], texts, strict=False):
            gap = 2 if _is_block(before) or _is_block(text) else int(text.startswith("#"))
            definitions += "\n" * gap + text
        return Bundle(
            definitions.strip("\n") + "\n",
            frozenset(self._imports),
            {module: frozenset(names) for module, names in self._froms.items()},
        )

    def _need(self, name_of_module: str, name: str) -> None:
        module = self._module(name_of_module)
        if name in module.definitions:
            if name in self._needed.setdefault(name_of_module, set()):
                return
            self._needed[name_of_module].add(name)
            for other in dict.fromkeys(_names_in(module.definitions[name])):
                self._need(name_of_module, other)
            if name_of_module not in self._order:  # after the modules that it needs
                self._order.append(name_of_module)
        elif name in module.froms:
            origin, original = module.froms[name]
            if origin.partition(".")[0] in _OWN:
                self._need(origin, original)
            else:
                self._bind(name, f"from {origin} import {original}")
                self._froms.setdefault(origin, set()).add(original)
        elif name in module.imports:
            self._bind(name, module.imports[name])
            self._imports.add(module.imports[name])

    def _bind(self, name: str, statement: str) -> None:
        """Refuses two imports under one name, which a single file cannot have."""
        if self._bound.setdefault(name, statement) != statement:
            raise LookupError(f"{name} is bound by {self._bound[name]!r} and by {statement!r}")

    def _module(self, name: str) -> _Module:
        if name not in self._modules:
            spec = find_spec(name)
            if spec is None or spec.origin is None:
                raise ModuleNotFoundError(f"no source of {name}", name=name)
            self._modules[name] = _read(Path(spec.origin).read_text(encoding="utf-8"))
        return self._modules[name]

    def _texts(self, name: str, renamed: Mapping[str, str]) -> Iterator[str]:
        """Yields the source of a module's collected definitions, in their order."""
        module = self._modules[name]
        nodes = {id(node): node for own in self._needed[name] if (node := module.definitions[own])}
        for node in sorted(nodes.values(), key=lambda node: node.lineno):
            yield _text(module.lines, node, renamed)


def _is_block(text: str) -> bool:
    """Returns True for the source of a function or a class, which needs two blank lines on both sides."""
    return any(line.startswith(("def ", "class ", "@")) for line in text.splitlines())


def _read(source: str) -> _Module:
    module = _Module(source.splitlines())
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            module.definitions[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                for name in [child.id for child in ast.walk(target) if isinstance(child, ast.Name)]:
                    module.definitions[name] = node
        elif isinstance(node, ast.Import):
            for alias in node.names:
                bound = alias.asname or alias.name.partition(".")[0]
                module.imports[bound] = f"import {alias.name}" + (f" as {alias.asname}" if alias.asname else "")
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                module.froms[alias.asname or alias.name] = (node.module, alias.name)
    return module


def _names_in(node: ast.AST) -> Iterator[str]:
    for child in ast.walk(node):
        if isinstance(child, ast.Name):
            yield child.id


def _text(lines: Sequence[str], node: ast.stmt, renamed: Mapping[str, str]) -> str:
    """Returns the source of a definition, with decorators and the comments directly above."""
    start = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))]) - 1
    body = list(lines[start : node.end_lineno])
    places = [
        (child.lineno - 1 - start, child.col_offset, child.id)
        for child in ast.walk(node)
        if isinstance(child, ast.Name) and child.id in renamed
    ]
    if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in renamed:
        at = node.lineno - 1 - start
        places.append((at, len(body[at].encode()[: re.search(rf"\b{node.name}\b", body[at]).start()]), node.name))  # type: ignore[union-attr]
    for row, column, name in sorted(places, reverse=True):
        line = body[row].encode()  # offsets are of UTF-8
        body[row] = (line[:column] + renamed[name].encode() + line[column + len(name.encode()) :]).decode()
    while start and lines[start - 1].startswith("#"):
        start -= 1
        body.insert(0, lines[start])
    return "\n".join(body) + "\n"
