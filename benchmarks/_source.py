"""Read the library as text: folders, functions, imports, names."""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import os
import pkgutil
import re
from collections import Counter, defaultdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[1]
#: Folders of the library, by the name they are imported as.
PACKAGES = {
    "batteryxr": "batteryxr",
    "batteryxr.accessors": "accessors",
    "batteryxr.widgets": "widgets",
}
#: Packages whose names are for users; `core` and `cli` are not.
INNER = ("accessors", "cli", "core", "tutorials", "widgets")
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

    def folders(self) -> dict[str, int]:
        """Count the modules of each folder of library and tests, kernels apart."""
        paths = [*self.files.values(), *_python_files(self.root / "tests")]
        counts = Counter(
            str(p.parent.relative_to(self.root))
            for p in paths
            if p.name != "__init__.py" and p.parent.name != "kernels"
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
            for module, tree in self.trees.items()
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]

    @cached_property
    def imports(self) -> dict[str, set[str]]:
        """Return what each module imports of anybody, wherever it says so."""
        return {
            name: set(self._imported(name, tree)) for name, tree in self.trees.items()
        }

    def _imported(self, module: str, tree: ast.Module) -> Iterator[str]:
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    yield inner if inner in self.files else node.module

    def callers(self) -> dict[str, set[str]]:
        """Return who imports each module; packages that only pass on do not count."""
        found: dict[str, set[str]] = {
            name: set() for name, path in self.files.items() if path.stem != "__init__"
        }
        for module, imported in self.imports.items():
            if self.files[module].stem == "__init__":
                continue
            for name in imported & found.keys() - {module}:
                found[name].add(module)
        return found

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
        for module, tree in self.trees.items():
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef):
                    homes[node.name].append(module)
        return {name: at for name, at in homes.items() if len(at) > 1}

    def calls(self, name: str, outside: str) -> list[str]:
        """Return where ``warnings.warn``, say, is called outside a package."""
        return [
            f"{module}:{node.lineno}"
            for module, tree in self.trees.items()
            if not module.startswith(outside)
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and ast.unparse(node.func) == name
        ]

    def palettes(self) -> list[str]:
        """Return the modules that give ``charge`` a colour of their own."""
        return [
            module
            for module, tree in self.trees.items()
            if any(_colours_charge(node) for node in ast.walk(tree))
        ]

    def phrases(self, pattern: str) -> list[str]:
        """Return the lines of the library that match a pattern."""
        return [
            f"{module}:{number}"
            for module, text in self.text.items()
            for number, line in enumerate(text.splitlines(), 1)
            if re.search(pattern, line)
        ]

    def duplicates(self) -> int:
        """Count the lines of runs that stand elsewhere word by word.

        A run has at least `SAME_LINES` lines that are neither empty nor comments nor
        imports; all copies count but the first.
        """
        seen: set[bytes] = set()
        total = 0
        for text in self.text.values():
            lines = list(_significant(text))
            again = set()
            for i in range(len(lines) - SAME_LINES + 1):
                window = "\n".join(lines[i : i + SAME_LINES])
                digest = hashlib.blake2b(window.encode(), digest_size=8).digest()
                if digest in seen:
                    again.update(range(i, i + SAME_LINES))
                seen.add(digest)
            total += len(again)
        return total

    def generator_lines(self) -> int:
        """Count the lines of what makes the documentation, pictures apart."""
        apart = {"gallery", "images", "_build", "reference", "tutorials"}
        return sum(
            len(path.read_text().splitlines())
            for path in _python_files(self.root / "docs")
            if not apart & set(path.relative_to(self.root / "docs").parts)
            and path.name != "conf.py"
        )


def public_functions() -> dict[str, Callable[..., Any]]:
    """Return what users call: top level, techniques, accessors and plots, panels."""
    import batteryxr

    found: dict[str, Any] = {}
    packages = [batteryxr.__name__]
    for module in pkgutil.iter_modules(batteryxr.__path__):
        if module.name not in INNER and not module.name.startswith("_"):
            packages.append(f"batteryxr.{module.name}")
    for name in packages:
        module = importlib.import_module(name)
        for key in getattr(module, "__all__", None) or vars(module):
            if not key.startswith("_"):
                found[f"{name}.{key}"] = getattr(module, key)
    accessors = importlib.import_module("batteryxr.accessors")
    for module in pkgutil.iter_modules(accessors.__path__):
        inner = importlib.import_module(f"batteryxr.accessors.{module.name}")
        for holder in vars(inner).values():
            if inspect.isclass(holder) and holder.__module__ == inner.__name__:
                for key, value in vars(holder).items():
                    if not key.startswith("_"):
                        found[f"{module.name}.{holder.__name__}.{key}"] = value
    return {
        name: value
        for name, value in found.items()
        if inspect.isfunction(value)
        and (inspect.unwrap(value).__module__ or "").startswith("batteryxr")
    }


def first_lines(functions: dict[str, Callable[..., Any]]) -> set[tuple[str, int]]:
    """Return file and first line, decorators included, of each function."""
    codes = [inspect.unwrap(f).__code__ for f in functions.values()]
    return {(os.path.realpath(c.co_filename), c.co_firstlineno) for c in codes}


def signatures(
    functions: dict[str, Callable[..., Any]],
) -> tuple[set[str], set[str], int]:
    """Return keywords and first-argument names of public functions, and their number.

    An accessor's method and its function are one.
    """
    keywords, firsts = set(), set()
    unique = {inspect.unwrap(f) for f in functions.values()}
    for function in unique:
        parameters = list(inspect.signature(function).parameters.values())
        named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL,
                                                        p.VAR_KEYWORD)]  # fmt: skip
        if named and named[0].kind is not inspect.Parameter.KEYWORD_ONLY:
            firsts.add(named[0].name)
            named = named[1:]
        keywords |= {p.name for p in named}
    return keywords, firsts, len(unique)


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
    for line in text.splitlines():
        bare = line.strip()
        if bare and not bare.startswith(("#", "import ", "from ")):
            yield bare
