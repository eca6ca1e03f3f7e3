"""Read the library as text: folders, functions, imports, names."""

from __future__ import annotations

import ast
import hashlib
import os
import re
from collections import Counter, defaultdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Node = TypeVar("Node", bound=ast.AST)
ROOT = Path(__file__).resolve().parents[1]
#: Folders of the library, by the name they are imported as.
PACKAGES = {
    "batteryxr": "batteryxr",
    "batteryxr.accessors": "accessors",
    "batteryxr.widgets": "widgets",
}
SAME_LINES = 6


class Function(NamedTuple):
    """A function as it stands in its file."""

    module: str
    name: str
    line: int
    parameters: int
    body: int
    public: bool
    kernel: bool

    def __str__(self) -> str:
        return f"{self.module.removeprefix('batteryxr.')}.{self.name}"


class Library:
    """The Python files of a checkout, parsed once."""

    def __init__(self, root: Path = ROOT) -> None:
        self.root = root

    @cached_property
    def files(self) -> dict[str, Path]:
        """Return the file of each module."""
        found = {}
        for package, folder in PACKAGES.items():
            for path in _python_files(self.root / folder):
                parts = path.relative_to(self.root / folder).with_suffix("").parts
                name = ".".join((package, *parts)).removesuffix(".__init__")
                found[name] = path
        return found

    @cached_property
    def text(self) -> dict[str, str]:
        """Return the text of each module."""
        return {name: path.read_text() for name, path in self.files.items()}

    @cached_property
    def trees(self) -> dict[str, ast.Module]:
        """Return the syntax tree of each module."""
        return {name: ast.parse(text) for name, text in self.text.items()}

    @cached_property
    def nodes(self) -> dict[str, list[ast.AST]]:
        """Return all nodes of the syntax tree of each module."""
        return {name: list(ast.walk(tree)) for name, tree in self.trees.items()}

    def folders(self) -> dict[str, int]:
        """Count the modules of each folder of library and tests."""
        paths = [*self.files.values(), *_python_files(self.root / "tests")]
        counts = Counter(
            str(p.parent.relative_to(self.root))
            for p in paths
            if p.name != "__init__.py"
        )
        return dict(counts)

    def twins(self) -> list[str]:
        """Return modules ``_x`` that stand beside a public ``x``."""
        return [
            name
            for name in self.files
            if name.rpartition(".")[2].startswith("_")
            and name.replace("._", ".") in self.files
            and not name.endswith("__")
        ]

    def functions(self, public: set[tuple[str, int]]) -> list[Function]:
        """Return all functions; `public` holds file and first line of those."""
        return [
            Function(
                module,
                node.name,
                node.lineno,
                _count_parameters(node),
                _body_lines(node),
                (str(self.files[module]), _first_line(node)) in public,
                ".kernels" in module,
            )
            for module, nodes in self.nodes.items()
            for node in nodes
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]

    @cached_property
    def imports(self) -> dict[str, set[str]]:
        """Return what each module imports of anybody, wherever it says so."""
        return {name: set(self._imported(nodes)) for name, nodes in self.nodes.items()}

    def _imported(self, nodes: Iterable[ast.AST]) -> Iterator[str]:
        for node in nodes:
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    yield inner if inner in self.files else node.module

    def single_caller(self) -> dict[str, str]:
        """Return the modules that one other module alone imports, and that one.

        Imports for types alone do not count. What a package passes on, or an accessor
        binds, is for users: such a module has more callers than are seen here. So is
        what `__main__` starts: a console script starts it as well.
        """
        callers: dict[str, set[str]] = {name: set() for name in self.files}
        for module, tree in self.trees.items():
            for name in set(self._imported(_run(tree))) & self.files.keys() - {module}:
                callers[name].add(module)
        return {
            name: caller
            for name, found in callers.items()
            if len(found) == 1 and self.files[name].stem != "__init__"
            for caller in found
            if self.files[caller].stem != "__init__"
            and self.files[caller].stem != "__main__"
            and not caller.startswith("batteryxr.accessors")
        }

    def resumable(self) -> list[str]:
        """Return the modules that tell by themselves whether a store is of this run.

        They take a ``mark`` or a ``fingerprint``, refuse with a `StoreError`, and do
        not leave it to `core.ledger`.
        """
        return [
            module
            for module, nodes in self.nodes.items()
            if "batteryxr.core.ledger" not in self.imports[module]
            and {"mark", "fingerprint"} & {a.arg for a in _only(nodes, ast.arg)}
            and any("StoreError(" in ast.unparse(r) for r in _only(nodes, ast.Raise))
        ]

    def users_of(self, package: str, homes: tuple[str, ...]) -> list[str]:
        """Return the modules outside `homes` that import a package of others."""
        return [
            module
            for module, imported in self.imports.items()
            if any(name.partition(".")[0] == package for name in imported)
            and not any(module == h or module.startswith(f"{h}.") for h in homes)
        ]

    def circles(self) -> list[list[str]]:
        """Return groups of modules that import one another, for types too."""
        graph = {m: i & self.files.keys() - {m} for m, i in self.imports.items()}
        reach = {m: _reach(graph, m) for m in graph}
        found = {
            frozenset({m, *(o for o in reach[m] if m in reach[o])})
            for m in graph
            if m in reach[m]
        }
        return [sorted(group) for group in found]

    def classes(self) -> dict[str, list[str]]:
        """Return the modules that define each class name, of those with several."""
        homes = defaultdict(list)
        for module, nodes in self.nodes.items():
            for node in _only(nodes, ast.ClassDef):
                homes[node.name].append(module)
        return {name: at for name, at in homes.items() if len(at) > 1}

    def calls(self, name: str, outside: str) -> list[str]:
        """Return where ``warnings.warn``, say, is called outside a package."""
        return [
            f"{module}:{node.lineno}"
            for module, nodes in self.nodes.items()
            if not module.startswith(outside) and name in self.text[module]
            for node in _only(nodes, ast.Call)
            if ast.unparse(node.func) == name
        ]

    def palettes(self) -> list[str]:
        """Return the modules that give ``charge`` a colour of their own."""
        return [
            module
            for module, nodes in self.nodes.items()
            if any(_colours_charge(node) for node in nodes)
        ]

    def phrases(self, pattern: str) -> list[str]:
        """Return the lines of the library that match a pattern."""
        return [
            f"{module}:{number}"
            for module, text in self.text.items()
            for number, line in enumerate(text.splitlines(), 1)
            if re.search(pattern, line)
        ]

    def duplicates(self) -> tuple[list[str], int]:
        """Return the runs that stand elsewhere word by word, and their lines in all.

        A run has at least `SAME_LINES` lines that are neither empty nor comments nor
        imports; all copies count but the first.
        """
        seen: dict[bytes, str] = {}
        runs: list[str] = []
        total = 0
        for module, text in self.text.items():
            lines = list(_significant(text))
            again, elsewhere = set(), set()
            for i in range(len(lines) - SAME_LINES + 1):
                window = "\n".join(lines[i : i + SAME_LINES])
                digest = hashlib.blake2b(window.encode(), digest_size=8).digest()
                if digest in seen:
                    again.update(range(i, i + SAME_LINES))
                    elsewhere.add(seen[digest])
                seen.setdefault(digest, module)
            total += len(again)
            if again:
                where = ", ".join(sorted(elsewhere))
                runs.append(f"{module}: {len(again)} lines of {where}")
        return runs, total

    def generator_lines(self) -> int:
        """Count the lines of what makes the documentation, pictures apart."""
        apart = {"examples", "gallery", "images", "_build", "reference", "tutorials"}
        return sum(
            len(path.read_text().splitlines())
            for path in _python_files(self.root / "docs")
            if not apart & set(path.relative_to(self.root / "docs").parts)
            and path.name != "conf.py"
        )

    def script_lines(self) -> int:
        """Count the lines of JavaScript that the documentation's pages load."""
        scripts = (self.root / "docs" / "_static").glob("*.js")
        return sum(len(path.read_text().splitlines()) for path in scripts)


def _run(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield all nodes but those for type checkers alone."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting.extend(node.orelse)
        else:
            waiting.extend(ast.iter_child_nodes(node))


def _only(nodes: Iterable[ast.AST], kind: type[Node]) -> Iterator[Node]:
    return (node for node in nodes if isinstance(node, kind))


def _python_files(folder: Path) -> list[Path]:
    """Return the Python files of a folder, through no link."""
    return sorted(
        Path(at, name)
        for at, folders, names in os.walk(folder)
        if "__pycache__" not in at
        for name in names
        if name.endswith(".py")
    )


def _first_line(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return min([node.lineno, *(d.lineno for d in node.decorator_list)])


def _count_parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    a = node.args
    named = [p.arg for p in (*a.posonlyargs, *a.args, *a.kwonlyargs)]
    if named and named[0] in ("self", "cls"):
        named = named[1:]
    return len(named) + bool(a.vararg) + bool(a.kwarg)


def _body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def _reach(graph: dict[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting.extend(graph[module])
    return found


def _colours_charge(node: ast.AST) -> bool:
    if not isinstance(node, ast.Dict):
        return False
    return any(
        isinstance(key, ast.Constant)
        and key.value == "charge"
        and isinstance(value, ast.Constant)
        and re.fullmatch("#[0-9a-fA-F]{6}", str(value.value))
        for key, value in zip(node.keys, node.values, strict=True)
    )


def _significant(text: str) -> Iterator[str]:
    within = False  # an import that goes over several lines
    for line in text.splitlines():
        bare = line.strip()
        if within or bare.startswith(("import ", "from ")):
            within = bare.endswith("(") or (within and not bare.endswith(")"))
        elif bare and not bare.startswith("#"):
            yield bare
