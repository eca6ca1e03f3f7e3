"""Model of the choice of components: their number, the known ones, and the steps."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets
import xarray as xr

from batteryxr.core.errors import ArgumentError
from batteryxr.nmf import Constraints, fit, model_order, pca, raise_n
from batteryxr.nmf.data import lay_out
from batteryxr.widgets.models.base import Plan
from batteryxr.widgets.models.judging import JudgingModel
from batteryxr.widgets.models.naming import keywords, literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batteryxr.nmf.data import Patterns

METHODS = ("active-set", "hals", "pure")
SHIFTS = (None, "envelope", "minimum")
#: Number of values above which an exact fit takes over a second, and a preview is made.
QUICK = 400_000
#: Number of values in a preview.
_PREVIEW = 60_000
#: Largest number of values for which numbers of components are compared unasked.
_JUDGED = 200_000
#: Largest number of values for which principal components are shown.
_BESIDE = 20_000_000
#: Number of results kept, so that going back is immediate.
_KEPT = 24


@dataclass(frozen=True, eq=False)  # arrays have no single truth
class Found:
    """Hold a factorisation, and principal components of the same data."""

    fit: xr.Dataset
    principal: xr.Dataset | None


class ComponentModel(JudgingModel):
    """Choose a factorisation of a series or a stack, step by step."""

    choices = ("n_components", "method", "closure", "shift", "fixed", "steps", "seed")
    shown = ("x",)
    judged_by = ("closure", "shift", "seed")
    parts = "components"

    n_components = traitlets.Int(2, min=1, help="Number of components.")
    method = traitlets.Enum(METHODS, "active-set", help="The solver; see `fit`.").tag(
        argument="solver"
    )
    closure = traitlets.Bool(True, help="Ratios add up to one.").tag(argument="closure")
    shift = traitlets.Enum(SHIFTS[1:], None, allow_none=True, help="See `fit`.").tag(
        argument="constraints", made=lambda shift: _constraints(shift)
    )
    fixed: Any = traitlets.Dict(
        help="Known components: the number of a scan, a file, or a pattern."
    )
    steps: Any = traitlets.List(
        help="Earlier steps: n_components, fixed, and keep: what was kept of them."
    )
    seed = traitlets.Int(0, min=0).tag(argument="seed")
    x = traitlets.Unicode(None, allow_none=True, help="Axis of the ratios.")

    def __init__(
        self,
        data: xr.DataArray,
        *,
        references: Mapping[str, xr.DataArray] | None = None,
        name: str | None = None,
    ) -> None:
        self.patterns: Patterns = lay_out(data)
        super().__init__(data, accessor="nmf.panel", name=name)
        self.references = dict(references or {})
        self.n_values = self.patterns.n_samples * self.patterns.n_points
        self.most = max(1, min(12, self.patterns.n_samples, self.patterns.n_points))
        self._fits: dict[str, xr.Dataset] = {}
        self.suppose("closure", self.patterns.series)
        signed = self.patterns.series and _signed(data)
        self.suppose("shift", "envelope" if signed else None)
        self.suppose("n_components", min(2, self.most))
        self.refresh(delay=0.0)

    @traitlets.validate("steps")
    def _check_steps(self, proposal: Any) -> list[dict[str, Any]]:
        for step in proposal["value"]:
            if not {"n_components", "keep"} <= set(step):
                raise traitlets.TraitError(
                    f"{step!r} is not like {{'n_components': 2, 'keep': {{...}}}}"
                )
        return list(proposal["value"])

    @property
    def least(self) -> int:
        """Return the lowest number of components that the earlier steps allow."""
        return int(self.steps[-1]["n_components"]) if self.steps else 1

    # actions of the user
    def fix(self, name: str, pattern: int | str | xr.DataArray) -> None:
        """Fix a component: a scan by its number, a file by its path, or a pattern."""
        name = name.strip()
        if not name:
            raise ArgumentError("name", name, "a name for the component that is fixed")
        held = {n for step in self.steps for n in step["keep"]}
        if name in self.fixed or name in held:
            raise ArgumentError("name", name, "a name that is not in use")
        fixed = {**self.fixed, name: pattern}
        known = len(fixed) + len(held)
        self.choose(fixed=fixed, n_components=max(self.n_components, known))

    def release(self, name: str) -> None:
        """Free a fixed component."""
        self.fixed = {k: v for k, v in self.fixed.items() if k != name}

    def keep_and_raise(self, component: str, name: str = "") -> None:
        """Keep a component of the last fit under a name, and add one more.

        Waits for a running fit.
        """
        there = [str(n) for n in self.result["component"].values]
        if component not in there:
            raise ArgumentError("component", component, f"one of {there}")
        if self.n_components >= self.most:
            raise ArgumentError("n_components", self.most + 1, f"at most {self.most}")
        step = {
            "n_components": self.n_components,
            "fixed": dict(self.fixed),
            "keep": {name.strip() or component: component},
        }
        self.choose(
            steps=[*self.steps, step], fixed={}, n_components=self.n_components + 1
        )

    def step_back(self) -> None:
        """Go back to the previous step."""
        if not self.steps:
            return
        *before, last = self.steps
        self.choose(
            steps=before,
            fixed=dict(last.get("fixed", {})),
            n_components=last["n_components"],
        )

    # result and code
    @property
    def result(self) -> Any:
        """Return the factorisation, as in `batteryxr.nmf.fit` or `raise_n`."""
        return super().result.fit

    def plan(self) -> Plan:
        """Return how to fit all steps, with a preview of the last if that is long."""
        if self.n_components < self.least:
            raise ArgumentError(
                "n_components", self.n_components, f"at least {self.least}, as kept"
            )
        chain = [*self.steps, self._last()]
        options = self.arguments()
        exact = functools.partial(self._fit_chain, chain, options)
        long = self.n_values > QUICK and self._key(chain, options) not in self._fits
        quick = functools.partial(self._glimpse, chain, options) if long else None
        return Plan(lambda: self._beside(exact()), quick)

    def write_code(self, data: str) -> str:
        """Return the calls of `fit` and `raise_n`, one line per step."""
        lines = []
        chain, options = [*self.steps, self._last()], self.arguments()
        for k, step in enumerate(chain):
            words = self._fixed_words(step.get("fixed", {}), data)
            fixed = [f"fixed={words}"] if words else []
            if k == 0:
                given = [f"{n}={_word(v)}" for n, v in options.items()]
                call = ["fit(" + str(step["n_components"]), *given, *fixed]
            else:
                by = step["n_components"] - chain[k - 1]["n_components"]
                given = [f"by={by}"] if by != 1 else []
                given += [f"keep={literal(chain[k - 1]['keep'])}"]
                later = {n: v for n, v in options.items() if n in ("solver", "seed")}
                given += [f"{n}={literal(v)}" for n, v in later.items()]
                call = [f"raise_n(step{k}", *given, *fixed]
            name = f"step{k + 1} = " if len(chain) > 1 else ""
            lines.append(f"{name}{data}.nmf.{', '.join(call)})")
        return "\n".join(lines)

    def _fixed_words(self, fixed: dict[str, Any], data: str) -> str:
        """Return Python code for fixed components, patterns by their names."""
        words, signal = [], self.patterns.signal
        axis = literal(signal)
        onto = f".interp({keywords({signal: f'{data}[{axis}]'})})"
        for name, value in fixed.items():
            code = literal(value)
            if isinstance(value, str):
                read = f"batteryxr.read_series({code}, axis={axis})"
                code = f"{read}.isel(scan=0, drop=True){onto}"
            elif _is_array(value):
                code = f"{self.called(value, 'fixed', name)}{onto}"
            words.append(f"{literal(name)}: {code}")
        return "{" + ", ".join(words) + "}" if words else ""

    # number of components
    def comparison(self) -> Callable[[], xr.Dataset]:
        """Return how to compare numbers of components."""
        half = min(self.patterns.n_samples, self.patterns.n_points) // 2
        numbers = list(range(1, max(2, min(8, half)) + 1))
        options: dict[str, Any] = {"closure": self.closure, "seed": self.seed}
        options["constraints"] = _constraints(self.shift)
        return functools.partial(model_order, self.data, numbers, **options)

    @property
    def judged_unasked(self) -> bool:
        """Tell whether numbers of components are compared without a request."""
        return self.n_values <= _JUDGED and self.patterns.n_samples >= 6

    # the calculation, independent of the traits
    def _last(self) -> dict[str, Any]:
        return {"n_components": self.n_components, "fixed": dict(self.fixed)}

    @staticmethod
    def _key(chain: list[dict[str, Any]], options: dict[str, Any]) -> str:
        return json.dumps([chain, options], default=_told_apart)

    def _fit_chain(
        self, chain: list[dict[str, Any]], options: dict[str, Any]
    ) -> xr.Dataset:
        """Fit one step after the other, reusing known results."""
        found: xr.Dataset | None = None
        for k in range(len(chain)):
            key = self._key(chain[: k + 1], options)
            if key not in self._fits:
                self._fits[key] = self._one(self.data, chain, k, found, options)
                while len(self._fits) > _KEPT:
                    del self._fits[next(iter(self._fits))]
            found = self._fits[key]
        assert found is not None
        return found

    def _one(
        self,
        data: xr.DataArray,
        chain: list[dict[str, Any]],
        k: int,
        before: xr.Dataset | None,
        options: dict[str, Any],
        **quick: Any,
    ) -> xr.Dataset:
        step = chain[k]
        fixed = {
            name: self._pattern(data, value)
            for name, value in step.get("fixed", {}).items()
        }
        if before is None:
            known: dict[str, Any] = {"fixed": fixed} if fixed else {}
            return fit(data, step["n_components"], **known, **options, **quick)
        later = {n: v for n, v in options.items() if n in ("solver", "seed")}
        return raise_n(
            data,
            before,
            by=step["n_components"] - chain[k - 1]["n_components"],
            keep=chain[k - 1]["keep"],
            fixed=fixed or None,
            **later,
            **quick,
        )

    def _pattern(self, data: xr.DataArray, value: Any) -> Any:
        if isinstance(value, int):
            return value
        signal = self.patterns.signal
        pattern = _read(value, signal) if isinstance(value, str) else value
        if signal in data.coords and signal in pattern.coords:
            pattern = pattern.interp({signal: data[signal]})
        return pattern

    def _glimpse(self, chain: list[dict[str, Any]], options: dict[str, Any]) -> Found:
        """Return a quick fit to a part of the data, from one start."""
        patterns = self.patterns
        points = max(1, min(patterns.n_points // 150, self.n_values // _PREVIEW))
        over = self.n_values / points / _PREVIEW
        every = max(1, int(np.ceil(over ** (1 / len(patterns.samples)))))
        thin = {patterns.signal: slice(None, None, points)}
        thin |= {d: slice(None, None, every) for d in patterns.samples}
        some = self.data.isel({d: thin[str(d)] for d in self.data.dims}).compute()
        last = dict(chain[-1])
        last["fixed"] = {
            name: self.data.isel({patterns.samples[0]: v}) if isinstance(v, int) else v
            for name, v in last.get("fixed", {}).items()
        }
        last["fixed"] = {
            name: v.isel({patterns.signal: thin[patterns.signal]})
            if _is_array(v)
            else v
            for name, v in last["fixed"].items()
        }
        chain = [*chain[:-1], last]
        before = self._fit_chain(chain[:-1], options) if len(chain) > 1 else None
        if before is not None:
            before = before.isel({patterns.signal: thin[patterns.signal]})
        found = self._one(
            some, chain, len(chain) - 1, before, options, n_starts=1, tol=1e-4
        )
        return Found(found, None)

    def _beside(self, found: xr.Dataset) -> Found:
        gaps = self.n_values > _BESIDE or bool(self.data.isnull().any())
        most = min(self.patterns.n_samples, self.patterns.n_points)
        n = min(found.sizes["component"], most)
        principal = None if gaps else pca(self.data, n).compute()
        small = found.compute() if self.n_values <= _BESIDE else found
        return Found(small, principal)

    def likeness(self, found: xr.Dataset) -> dict[str, tuple[str, float]]:
        """Return the most similar reference of each component, and its correlation."""
        signal = self.patterns.signal
        likeness: dict[str, tuple[str, float]] = {}
        for name in found["component"].values:
            pattern = found["components"].sel(component=name)
            scores = {}
            for key, reference in self.references.items():
                other = reference
                if signal in reference.coords and signal in found.coords:
                    other = reference.interp({signal: found[signal]})
                both = np.isfinite(pattern.values + other.values)
                if both.sum() > 2:
                    pair = np.corrcoef(pattern.values[both], other.values[both])
                    scores[key] = float(pair[0, 1])
            if scores:
                best = max(scores, key=lambda k: scores[k])
                likeness[str(name)] = (best, scores[best])
        return likeness


def _constraints(shift: Any) -> Constraints:
    return Constraints(shift=shift)


def _told_apart(value: Any) -> str:
    """Return a text that identifies a value of a choice."""
    return (
        _word(value) if isinstance(value, Constraints) else f"{type(value)}{id(value)}"
    )


def _word(value: Any) -> str:
    """Return Python code for an argument of `fit`."""
    if isinstance(value, Constraints):
        return f"batteryxr.nmf.Constraints(shift={literal(value.shift)})"
    return literal(value)


def _is_array(value: Any) -> bool:
    return isinstance(value, xr.DataArray)


def _signed(data: xr.DataArray) -> bool:
    """Tell whether a series has more negative signal than noise would give."""
    values = data.isel({str(data.dims[0]): slice(0, 50)}).values
    total = float(np.nansum(values**2))
    return float(np.nansum(np.minimum(values, 0) ** 2)) > 2e-3 * total


def _read(path: str, signal: str) -> xr.DataArray:
    from batteryxr.io import read_series

    patterns = read_series(path, axis=signal)
    return patterns.isel(scan=0, drop=True)
