"""The source of the library as data: who imports whom, and which names a file touches."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "balancers"


@dataclass(frozen=True)
class Import:
    """One imported thing: ``name`` of ``module``, or the whole module if ``name`` is None."""

    module: str
    name: str | None
    line: int


@dataclass(frozen=True)
class Source:
    """A Python file under its dotted name."""

    module: str
    tree: ast.Module
    is_package: bool = False

    @classmethod
    def of(cls, path: Path) -> "Source":
        parts = list(path.relative_to(ROOT).with_suffix("").parts)
        is_package = parts[-1] == "__init__"
        dotted = ".".join(parts[:-1] if is_package else parts)
        return cls(dotted, ast.parse(path.read_text("utf-8"), str(path)), is_package)

    def imports(self) -> Iterator[Import]:
        """Yield what the file imports at run time, lazily in a function or not.

        What stands under ``if TYPE_CHECKING`` is left out: a name that only signatures use
        ties no file to another when the program runs.
        """
        for node in _running(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(alias.name, None, node.lineno)
            elif isinstance(node, ast.ImportFrom):
                module = self._absolute(node)
                for alias in node.names:
                    yield Import(module, alias.name, node.lineno)

    def attributes(self) -> Iterator[tuple[str, int]]:
        """Yield every dotted name the file reads, with its line, aliases resolved."""
        aliases = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    head = alias.name.split(".")[0]
                    aliases[alias.asname or head] = alias.name if alias.asname else head
            elif isinstance(node, ast.ImportFrom):
                module = self._absolute(node)
                for alias in node.names:
                    aliases[alias.asname or alias.name] = f"{module}.{alias.name}"
                    yield f"{module}.{alias.name}", node.lineno
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Attribute) and (dotted := _dotted(node)):
                head, _, rest = dotted.partition(".")
                if head in aliases:
                    yield f"{aliases[head]}.{rest}", node.lineno

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.module.split(".")
        keep = len(parts) - node.level + self.is_package
        return ".".join([*parts[:keep], *([node.module] if node.module else [])])


def sources(root: Path = PACKAGE) -> dict[str, Source]:
    """Return every file of the library by its dotted name."""
    found = (Source.of(path) for path in sorted(root.rglob("*.py")))
    return {source.module: source for source in found}


def _running(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for branch in child.orelse:
                yield branch
                yield from _running(branch)
            continue
        yield child
        yield from _running(child)


def _dotted(node: ast.expr) -> str | None:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return ".".join([node.id, *reversed(parts)])
