"""Run the examples of public methods on data that grow."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import doctest
import functools
import importlib
import inspect
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

import batteryxr
from batteryxr.accessors.base import Accessor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: How much more data each size has than the first.
FACTORS = (1, 4, 16, 64)
#: Dimensions along which data are repeated, the first that is there.
_REPEATED = (
    *("record", "scan", "spectrum", "half_cycle", "y", "detector_y", "pulse"),
    *("repeat", "cycle", "cell", "state", "component", "energy", "record"),
)
#: Methods of which a part is asked for by number, or that need what is not installed.
_LEFT = frozenset({"cdi.Cdi.retrieve_learned"})


def methods() -> dict[str, Callable[..., Any]]:
    """Return every function that an accessor binds, once, by where it stands."""
    found: dict[Any, str] = {}
    for room in ("xanes", "echem", "nmf", "cdi"):
        module = importlib.import_module(f"batteryxr.accessors.{room}")
        for holder in vars(module).values():
            own = inspect.isclass(holder) and holder.__module__ == module.__name__
            if own and issubclass(holder, Accessor):
                for key, entry in holder.entries():
                    name = f"{room}.{holder.__name__}.{key}"
                    if inspect.isfunction(entry) and name not in _LEFT:
                        found.setdefault(inspect.unwrap(entry), name)
    return {name: function for function, name in found.items()}


class Scale:
    """Hold the factor by which simulators give more data, and what was made at it."""

    def __init__(self) -> None:
        self.factor = 1
        self.made: dict[tuple[int, str], Any] = {}


@contextlib.contextmanager
def growing_simulators() -> Iterator[Scale]:
    """Make simulators and readers give as much more data as the scale says."""
    scale = Scale()
    simulate = batteryxr.simulate
    places = [(simulate, name, grown) for name, grown in _SIMULATORS.items()]
    places.append((batteryxr, "read_series", lambda *_: {}))
    places.append((simulate, "write_samples", lambda *_: {}))
    before = [(home, name, getattr(home, name)) for home, name, _ in places]
    for (home, name, original), (_, _, grown) in zip(before, places, strict=True):
        setattr(home, name, _grown(original, grown, scale))
    try:
        yield scale
    finally:
        for home, name, original in before:
            setattr(home, name, original)


def _grown(
    original: Callable[..., Any],
    more: Callable[[float, dict[str, Any]], dict[str, Any]],
    scale: Scale,
) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(*args: Any, **options: Any) -> Any:
        changed = more(float(scale.factor), options)
        once = original.__name__ == "write_samples"
        key = (
            0 if once else scale.factor,
            repr((original.__name__, args, sorted(options.items()))),
        )
        if key not in scale.made:
            result = original(*args, **(options | changed))
            if original.__name__ == "read_series":
                result = repeated(result, scale.factor)
            scale.made[key] = result
        result = scale.made[key]
        if isinstance(result, tuple):
            return tuple(part.copy() for part in result)
        return result.copy() if hasattr(result, "copy") else result

    return call


def _edge(least: int, factor: float, dims: int) -> int:
    """Return an even length whose power grows by a factor."""
    return 2 * round(least * factor ** (1 / dims) / 2)


def _titration(factor: float, given: dict[str, Any]) -> dict[str, Any]:
    """Return more pulses through the same charge."""
    usual = given["protocol"]
    return {
        "protocol": dataclasses.replace(
            usual,
            n_pulses=round(usual.n_pulses * factor),
            pulse=usual.pulse / factor,
            rest=max(usual.rest / factor, 60.0),
        )
    }


#: What makes each simulator's data grow by a factor.
_SIMULATORS: dict[str, Callable[[float, dict[str, Any]], dict[str, Any]]] = {
    "cell_experiment": lambda s, _: {
        "n_scans": round(40 * s),
        "n_cycles": max(2, round(s)),
    },
    "particles": lambda s, _: {"size": _edge(24, s, 2)},
    "bragg_states": lambda s, _: {
        "shape": (_edge(16, s, 3),) * 3,
        "size": 1100.0,  # of a fixed share of each axis: voxels shrink
    },
    "impedance_loop": lambda s, _: {"n_scans": round(2 * s)},
    "oxide_series": lambda s, _: {"n_scans": round(20 * s)},
    "ptychography": lambda s, _: {"positions": _edge(4, s, 2), "size": 32},
    "gitt": _titration,
}


def repeated(data: Any, factor: int, dim: str | None = None) -> Any:
    """Return data that follow one another along a dimension, coordinates going on."""
    if factor == 1 or not isinstance(data, xr.DataArray | xr.Dataset):
        return data
    dim = dim or next((d for d in _REPEATED if d in data.dims), None)
    if dim is None or dim not in data.dims:
        return data
    parts = []
    for k in range(factor):
        part = data
        for name, coord in data.coords.items():
            if dim in coord.dims and coord.ndim == 1 and coord.size > 1:
                part = part.assign_coords(
                    {name: (dim, _on(coord.values, k), coord.attrs)}
                )
        parts.append(part)
    options = {"coords": "minimal", "compat": "override"}
    if isinstance(data, xr.Dataset):
        options["data_vars"] = "minimal"
    return xr.concat(parts, dim, join="override", **options)


def _on(values: np.ndarray, k: int) -> np.ndarray:
    """Return a coordinate's values as they go on in the k-th part."""
    if values.dtype.kind in "OUS":
        if k == 0 or len(set(values.tolist())) < values.size:
            return values
        return np.array([f"{v} {k}" for v in values], object)
    if values.dtype.kind == "b":
        return values
    steps = np.diff(values)
    if not (np.all(steps > steps.dtype.type(0)) or np.all(steps < steps.dtype.type(0))):
        return values
    return values + k * (values[-1] - values[0] + steps[-1])


class Call(NamedTuple):
    """Hold a method with its data, ready to run, and how many bytes go in."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    options: dict[str, Any]
    given: float

    def run(self) -> Any:
        """Call it, and compute what is lazy."""
        result = self.function(*self.args, **self.options)
        return result.compute() if hasattr(result, "compute") else result


class Example:
    """A method's example, cut before the call of the method itself."""

    def __init__(self, name: str, function: Callable[..., Any], scale: Scale) -> None:
        self.name, self._function, self._scale = name, function, scale
        text = inspect.getdoc(function) or ""
        shown = doctest.DocTestParser().get_examples(text)
        self._tree = ast.parse("".join(e.source for e in shown))
        self._own = name.rsplit(".", 1)[1]
        self._first = 0.0

    def call(self, factor: int) -> Call:
        """Return the method's call with data that are larger by a factor."""
        self._scale.factor = factor
        values: dict[str, Any] = {"batteryxr": batteryxr}
        keys: dict[str, str] = {}
        target = self._target()
        for statement in self._tree.body:
            if any(node is target for node in ast.walk(statement)):
                break
            self._run(statement, values, keys)
        return self._made(target, values, keys)

    def _target(self) -> ast.Call:
        """Return the last call of the method in its example."""
        names = {self._own, self._function.__name__}
        plots = self.name.split(".")[1].endswith(("Plot", "Plots"))
        calls = [
            node
            for node in ast.walk(self._tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in names
            and plots == (getattr(node.func.value, "attr", "") == "plot")
        ]
        if not calls:
            raise LookupError("the example does not call the method")
        return max(calls, key=lambda n: (n.end_lineno or 0, n.end_col_offset or 0))

    def _run(
        self, statement: ast.stmt, values: dict[str, Any], keys: dict[str, str]
    ) -> None:
        """Run a statement before the call; what has been made before is not again."""
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                values[name] = self._value(value, values, keys)
                keys[name] = _key(value, keys)
            case _:
                code = compile(ast.Module([statement], []), "<example>", "exec")
                for node in ast.walk(statement):
                    if isinstance(node, ast.Name) and node.id in keys:
                        if isinstance(node.ctx, ast.Load) and hasattr(
                            values[node.id], "copy"
                        ):
                            values[node.id] = values[node.id].copy()
                        keys[node.id] += ast.unparse(statement)
                exec(code, values)

    def _value(
        self, node: ast.expr, values: dict[str, Any], keys: dict[str, str]
    ) -> Any:
        key = self._scale.factor, _key(node, keys)
        made = self._scale.made
        if not _fresh(node) or key not in made:
            code = compile(ast.Expression(node), "<example>", "eval")
            made[key] = eval(code, values)
        return made[key]

    def _made(
        self, target: ast.Call, values: dict[str, Any], keys: dict[str, str]
    ) -> Call:
        holder = self._value(target.func.value, values, keys)  # type: ignore[attr-defined]
        args = [self._value(each, values, keys) for each in target.args]
        options = {
            k.arg: self._value(k.value, values, keys) for k in target.keywords if k.arg
        }
        args = [holder._obj, *args] if isinstance(holder, Accessor) else list(args)
        args, options = self._large_enough(args, options)
        return Call(self._function, tuple(args), options, _bytes(args, options))

    def _large_enough(
        self, args: list[Any], options: dict[str, Any]
    ) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments, repeated where the example's data do not grow."""
        factor = self._scale.factor
        if factor == 1:
            self._first = _bytes(args, options)
        if _bytes(args, options) > 0.4 * factor * self._first:
            return args, options
        data = args[0]
        dim = next((d for d in _REPEATED if d in getattr(data, "dims", ())), None)
        if dim is None:
            return args, options
        again = max(1, round(factor * self._first / max(_bytes(args, options), 1.0)))
        size = data.sizes[dim]

        def larger(value: Any) -> Any:
            same = dim in getattr(value, "dims", ()) and value.sizes[dim] == size
            return repeated(value, again, dim) if same else value

        return [larger(a) for a in args], {k: larger(v) for k, v in options.items()}


def _fresh(node: ast.expr) -> bool:
    """Tell whether an expression gives the same whenever it is asked."""
    return not any(isinstance(n, ast.Lambda) for n in ast.walk(node))


def _key(node: ast.expr, keys: dict[str, str]) -> str:
    """Return an expression with the names in it written out."""

    class Written(ast.NodeTransformer):
        def visit_Name(self, name: ast.Name) -> ast.Name:
            return ast.Name(f"({keys[name.id]})" if name.id in keys else name.id)

    copied = ast.parse(ast.unparse(node), mode="eval").body
    return ast.unparse(Written().visit(copied))


def _bytes(args: list[Any], options: dict[str, Any]) -> float:
    """Return the bytes of all labelled data among arguments."""
    return float(
        sum(
            getattr(v, "nbytes", 0) for v in (*args, *options.values()) if v is not None
        )
    )
