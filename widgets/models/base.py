"""Model of a panel: a choice, the state of its calculation, and the result.

No screen and no Jupyter are needed: a model is a plain `traitlets.HasTraits`, which
can be used and tested in a script.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import traitlets

from batteryxr.core.errors import ArgumentError
from batteryxr.widgets.models.naming import call_of_user, literal
from batteryxr.widgets.told import told
from batteryxr.widgets.work import DELAY, Work

if TYPE_CHECKING:
    from collections.abc import Callable

    from batteryxr.widgets.work import Job

#: Changes of one and the same choice within these seconds are one: a slider in motion.
TOGETHER = 0.7
#: Number of choices that are kept.
KEPT = 200
STATUSES = ("ready", "empty", "waiting", "working", "preview", "failed", "cancelled")


@dataclass(frozen=True)
class Plan:
    """Tell how to calculate the result of a choice, independent of the model.

    Parameters
    ----------
    exact
        Function that returns the result.
    preview
        Function that returns a similar result in a fraction of a second; None if the
        exact result takes no longer.
    """

    exact: Callable[[], Any]
    preview: Callable[[], Any] | None = None


class PanelModel(traitlets.HasTraits):
    """Hold a choice, its result, and the code that gives it.

    A subclass names its choices in `choices`, and defines the calculation (`plan`) and
    the code (`write_code`). A trait is all that there is of a choice: controls are made
    from it, and so are the `arguments` of calculation and code.
    """

    #: Traits that the user chooses.
    choices: ClassVar[tuple[str, ...]] = ()
    #: Traits that change the display, not the result.
    shown: ClassVar[tuple[str, ...]] = ()
    #: Advice where nothing is chosen.
    nothing: ClassVar[str] = ""

    status = traitlets.Enum(STATUSES, "ready")
    message = traitlets.Unicode("", help="What went wrong, and what mends it.")
    note = traitlets.Unicode("", help="What is being done.")
    progress = traitlets.Float(-1.0, help="Share that is done; negative: unknown.")
    code = traitlets.Unicode("", help="Code that gives the result.")
    reopen = traitlets.Unicode("", help="Code that opens the panel with this choice.")
    answer = traitlets.Any(None, help="What is shown: the result, or a preview.")
    can_undo = traitlets.Bool(False)
    can_redo = traitlets.Bool(False)

    def __init__(self, data: Any, *, accessor: str, name: str | None = None) -> None:
        super().__init__()
        self.data = data
        self._accessor = accessor
        self._name = name
        self._call = call_of_user()
        #: Names in the code that stand for no variable of the user.
        self._nameless: list[str] = []
        self._work = Work()
        self._held = 0
        #: Default choices that follow from the data.
        self._usual: dict[str, Any] = {}
        self._result: Any = None
        self._error: Exception | None = None
        self._history = History()
        self.observe(lambda _: self.refresh(), list(self.choices))
        self.observe(lambda _: self._look_otherwise(), list(self.shown))

    # defined by a subclass
    def plan(self) -> Plan | None:
        """Return how to calculate the result, or None if nothing is chosen."""
        raise NotImplementedError

    def write_code(self, data: str) -> str:
        """Return the code that gives the result, with the data named `data`."""
        raise NotImplementedError

    # choice
    @property
    def choice(self) -> dict[str, Any]:
        """Return the present choice, by name."""
        return {name: getattr(self, name) for name in (*self.choices, *self.shown)}

    def usual(self, name: str) -> Any:
        """Return the default value of a choice."""
        return self._usual.get(name, self.trait_defaults(name))

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the call that follow from the choice.

        A choice that is an argument says so where it is declared:
        ``.tag(argument="solver")``, with ``made=`` if its value is made into another.
        Arguments at their defaults are left out.
        """
        found = {}
        for name in self.choices:
            value = getattr(self, name)
            argument = self.trait_metadata(name, "argument")
            if argument and value != self.trait_defaults(name):
                made = self.trait_metadata(name, "made")
                found[argument] = made(value) if made else value
        return found

    def suppose(self, name: str, value: Any) -> None:
        """Set the default of a choice, as it follows from the data."""
        self._usual[name] = value
        self._held += 1
        try:
            self.set_trait(name, value)
        finally:
            self._held -= 1
        self._history.amend(name, value)
        self._write()

    def choose(self, **choice: Any) -> None:
        """Change several choices at once, with one calculation.

        Raises
        ------
        ArgumentError
            If there is no such choice, or the value is not allowed.
        """
        known = (*self.choices, *self.shown)
        for name in choice:
            if name not in known:
                raise ArgumentError(name, choice[name], f"one of the choices {known}")
        self._held += 1
        try:
            for name, value in choice.items():
                try:
                    setattr(self, name, value)
                except traitlets.TraitError as error:
                    raise ArgumentError(name, value, "another value", str(error)) from (
                        error
                    )
        finally:
            self._held -= 1
        self.refresh()
        self._history.settle()

    def undo(self) -> None:
        """Go back to the choice before this one; nothing happens at the first."""
        self._travel(self._history.back())

    def redo(self) -> None:
        """Take back an `undo`."""
        self._travel(self._history.forth())

    def _travel(self, choice: dict[str, Any] | None) -> None:
        if choice is not None:
            self.choose(**choice)

    def _remember(self) -> None:
        self._history.add(self.choice)
        self.can_undo, self.can_redo = self._history.ways

    def _look_otherwise(self) -> None:
        if not self._held:
            self._remember()
            self._write()

    # calculation
    def refresh(self, delay: float = DELAY) -> None:
        """Calculate again in the background, once changes have stopped."""
        if self._held:
            return
        self._remember()
        self._result, self._error = None, None
        self._write()
        try:
            plan = self.plan()
        except Exception as error:
            self._work.cancel()
            self.fail(error)
            return
        if plan is None:
            self._work.cancel()
            self._error = ArgumentError("choice", self.choice, self.nothing)
            self.answer, self.message, self.note = None, "", self.nothing
            self.status = "empty"
            return
        with self.hold_trait_notifications():
            self.status, self.message, self.progress = "waiting", "", -1.0
            self.note = ""
        self._work.submit(
            lambda job: self._calculate(job, plan),
            failed=self.fail,
            progress=self._advance,
            delay=delay,
        )

    def cancel(self) -> None:
        """Stop the calculation; the display stays."""
        if self._work.cancel():
            self.status, self.note = "cancelled", "change a choice to begin again"

    @property
    def result(self) -> Any:
        """Return the result of the present choice; wait for a running calculation.

        Raises
        ------
        Exception
            The error of the calculation.
        """
        self._work.wait()
        if self._error is not None:
            raise self._error
        if self._result is None:
            self.refresh(delay=0.0)
            self._work.wait()
            if self._error is not None:
                raise self._error
        return self._result

    def _calculate(self, job: Job, plan: Plan) -> None:
        job.post(self._begin)
        if plan.preview is not None:
            with told():
                quick = plan.preview()
            job.post(lambda: self._show(quick, preview=True))
            job.check()
        with told() as warned:
            exact = plan.exact()
        message = "\n".join(warned)
        job.post(lambda: self._show(exact, preview=False, message=message))

    def _begin(self) -> None:
        self.status = "working"

    def _advance(self, what: str, share: float) -> None:
        self.note, self.progress = what, share

    def _show(self, answer: Any, *, preview: bool, message: str = "") -> None:
        self.note, self.progress, self.message = "", -1.0, message
        if not preview:
            self._result = answer
        self.answer = answer
        self.status = "preview" if preview else "ready"

    def fail(self, error: Exception) -> None:
        """Show an error inside the panel."""
        self._error = error
        self.note, self.progress = "", -1.0
        self.message = str(error) or type(error).__name__
        self.status = "failed"

    # code
    def called(self, value: Any, *where: str) -> str:
        """Return code for an object that came with the call, see `Call.named`."""
        found = self._call.named(value, *where)
        if found is None:
            found = where[-1] if where and where[-1].isidentifier() else "data"
            if found not in self._nameless:
                self._nameless.append(found)
        return found

    def _write(self) -> None:
        if self._held:
            return
        self._nameless = []
        data = self._name or self.called(self.data)
        try:
            self.code = self._whole(data)
        except Exception:  # an invalid choice: the calculation reports the reason
            self.code = ""
        words = ", ".join(
            f"{name}={literal(value)}"
            for name, value in self.choice.items()
            if value != self.usual(name)
        )
        self.reopen = f"{data}.{self._accessor}({words})"

    def _whole(self, data: str) -> str:
        """Return the code with what it needs: imports, and data calculated once."""
        code, first = self.write_code(data), ""
        if "(" in data and code.count(data) > 1:
            short = self._call.free("data")
            code, first = self.write_code(short), f"{short} = {data}\n"
        if self._nameless:
            code += f"  # {', '.join(self._nameless)}: as given to the panel"
        return self._call.imports(first + code) + first + code


class History:
    """Hold the choices that were made, and the place of the present one."""

    def __init__(self) -> None:
        self._choices: list[dict[str, Any]] = []
        self._at = -1
        self._last: tuple[set[str], float] = (set(), 0.0)

    @property
    def ways(self) -> tuple[bool, bool]:
        """Tell whether there is a choice before the present one, and one after it."""
        return self._at > 0, self._at < len(self._choices) - 1

    def add(self, choice: dict[str, Any]) -> None:
        """Make a choice the present one; the choices that were undone are dropped."""
        before = self._choices[self._at] if self._choices else {}
        changed = {n for n, v in choice.items() if not _same(v, before.get(n, _NONE))}
        if not changed:
            return
        names, now = self._last[0], time.monotonic()
        moving = changed == names and now - self._last[1] < TOGETHER
        moving = moving and len(changed) == 1 and self._at == len(self._choices) - 1
        self._last = changed, now
        del self._choices[self._at + (0 if moving else 1) :]
        self._choices = [*self._choices, choice][-KEPT:]
        self._at = len(self._choices) - 1

    def amend(self, name: str, value: Any) -> None:
        """Give the present choice a value that it should have had from the start."""
        if self._choices:
            self._choices[self._at] = self._choices[self._at] | {name: value}

    def settle(self) -> None:
        """Keep the present choice, whatever changes next."""
        self._last = (set(), 0.0)

    def back(self) -> dict[str, Any] | None:
        """Return the choice before the present one, which it becomes."""
        return self._go(-1)

    def forth(self) -> dict[str, Any] | None:
        """Return the choice after the present one, which it becomes."""
        return self._go(1)

    def _go(self, step: int) -> dict[str, Any] | None:
        at = self._at + step
        if not 0 <= at < len(self._choices):
            return None
        self._at = at
        self.settle()
        return self._choices[at]


_NONE = object()


def _same(one: Any, other: Any) -> bool:
    """Tell whether two values are the same; arrays are if they are one object."""
    try:
        return one is other or bool(one == other)
    except ValueError:
        return False
