"""Common look of all panels: controls, a figure, and a foot with status and code."""

from __future__ import annotations

import copy
import functools
import inspect
import re
from html import escape
from importlib.resources import files
from math import inf
from typing import TYPE_CHECKING, Any

import anywidget
import ipywidgets
import traitlets

from batteryxr.core.checks import check_call

if TYPE_CHECKING:
    from collections.abc import Callable

    from batteryxr.widgets.models.base import PanelModel


_IMPORT = re.compile(r'^import .* from "\./([\w.]+)";\n', re.MULTILINE)


def static(name: str) -> str:
    """Return a file of the folder ``static``."""
    return (files("batteryxr.widgets") / "static" / name).read_text(encoding="utf-8")


def bundle(name: str, seen: set[str] | None = None) -> str:
    """Return a module of JavaScript with all its imports, as one text.

    A notebook loads a widget from its text alone, and cannot follow imports. Modules
    come before those that import them, each once; the names that they declare share
    one scope.
    """
    seen = set() if seen is None else seen
    seen.add(name)
    text = static(name)
    before = [bundle(n, seen) for n in _IMPORT.findall(text) if n not in seen]
    own = re.sub(r"^export (?!default)", "", _IMPORT.sub("", text), flags=re.MULTILINE)
    return "\n".join([*before, own])


STYLE = static("panel.css")
#: Style of a control whose label is as wide as its words.
WIDE = {"description_width": "initial"}


class Figure(anywidget.AnyWidget):
    """Show curves and small pictures side by side; report picks and drags."""

    _esm = bundle("figure.js")
    _css = STYLE
    figure = traitlets.Dict().tag(sync=True)


class Foot(anywidget.AnyWidget):
    """Show status, progress and a stop button; errors; the code with copy buttons."""

    _esm = bundle("foot.js")
    _css = STYLE
    status = traitlets.Unicode("ready").tag(sync=True)
    message = traitlets.Unicode("").tag(sync=True)
    note = traitlets.Unicode("").tag(sync=True)
    beside = traitlets.Unicode("").tag(sync=True)
    progress = traitlets.Float(-1.0).tag(sync=True)
    code = traitlets.Unicode("").tag(sync=True)
    reopen = traitlets.Unicode("").tag(sync=True)
    can_undo = traitlets.Bool(False).tag(sync=True)
    can_redo = traitlets.Bool(False).tag(sync=True)


#: What the foot shows of a model.
_OF_FOOT = (
    *("status", "message", "note", "progress", "code", "reopen"),
    *("can_undo", "can_redo"),
)


def _checking(begin: Callable[..., None]) -> Callable[..., None]:
    """Return an ``__init__`` that answers a wrong argument by its name."""
    signature = inspect.signature(begin)

    @functools.wraps(begin)
    def checking(*args: Any, **kwargs: Any) -> None:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:  # the call itself says best what is missing or too much
            return begin(*args, **kwargs)
        check_call(begin, signature, bound)
        return begin(*args, **kwargs)

    return checking


class Panel(ipywidgets.VBox):
    """Show controls, a figure, and the foot, linked to a model.

    A subclass names its model, ``class NounPanel(Panel, of=NounModel)``. Each choice of
    the model is also a trait of the panel, and both are linked, so that
    ``panel.n_components = 4`` is the same as moving the slider.
    """

    model: Any

    def __init_subclass__(cls, *, of: type[PanelModel] | None = None) -> None:
        """Give the class the traits of its model's choices."""
        super().__init_subclass__()
        for name in () if of is None else (*of.choices, *of.shown):
            trait = copy.deepcopy(getattr(of, name))
            setattr(cls, name, trait)
            trait.class_init(cls, name)
        if "__init__" in vars(cls):
            cls.__init__ = _checking(cls.__init__)  # type: ignore[method-assign]

    def __init__(
        self,
        model: PanelModel,
        *,
        title: str,
        hint: str,
        controls: list[ipywidgets.Widget],
        body: ipywidgets.Widget,
    ) -> None:
        self.model = model
        self.foot = Foot()
        for name in _OF_FOOT:
            traitlets.dlink((model, name), (self.foot, name))
        if model.has_trait("judging"):
            traitlets.dlink((model, "judging"), (self.foot, "beside"))
        self.foot.on_msg(self._of_foot)
        words = f"{escape(title)} <small>{escape(hint)}</small>"
        head = ipywidgets.HTML(f"<span class='bx-head'>{words}</span>")
        row = ipywidgets.HBox(controls)
        row.add_class("bx-controls")
        super().__init__([head, row, body, self.foot])
        self.add_class("bx-panel")
        for name in (*model.choices, *model.shown):
            traitlets.link((model, name), (self, name))

    @property
    def result(self) -> Any:
        """Return the exact result of the present choice; wait for it if needed."""
        return self.model.result

    @property
    def code(self) -> str:
        """Return the code that gives the result."""
        return str(self.model.code)

    @property
    def choice(self) -> dict[str, Any]:
        """Return the present choice; pass it to the panel to open it again."""
        return self.model.choice

    def choose(self, **choice: Any) -> None:
        """Change several choices at once."""
        self.model.choose(**choice)

    def cancel(self) -> None:
        """Stop the running calculation."""
        self.model.cancel()

    def undo(self) -> None:
        """Go back to the choice before this one."""
        self.model.undo()

    def redo(self) -> None:
        """Take back an `undo`."""
        self.model.redo()

    def __repr__(self) -> str:
        return str(self.model.reopen)

    def _repr_keys(self) -> list[str]:
        return list(self.choice)

    def _of_foot(self, _: Any, content: dict[str, Any], __: Any) -> None:
        actions = {"cancel": self.cancel, "undo": self.undo, "redo": self.redo}
        actions.get(str(content.get("kind")), lambda: None)()


def control(model: PanelModel, name: str, width: int = 0, **words: Any) -> Any:
    """Return the control of a choice, made from its trait and linked to it.

    Parameters
    ----------
    model, name
        The model, and the name of the choice.
    width
        Width of the control in pixels; 0 for the default of ipywidgets.
    words
        Settings that the trait lacks: ``description``, ``options`` with other words or
        values, limits that depend on the data, ``step``.
    """
    trait = model.traits()[name]
    limits = {k: getattr(trait, k, None) for k in ("min", "max")}
    bounds = {k: v for k, v in limits.items() if v is not None and abs(v) < inf}
    bounds |= {k: words.pop(k) for k in ("min", "max") if k in words}
    common: dict[str, Any] = {"tooltip": trait.help, "style": WIDE} | words
    if width:
        common["layout"] = {"width": f"{width}px"}
    made: Any
    if isinstance(trait, traitlets.Enum) or "options" in words:
        made = ipywidgets.Dropdown(**{"options": getattr(trait, "values", ())} | common)
    elif isinstance(trait, traitlets.Bool):
        made = ipywidgets.Checkbox(indent=False, **common)
    elif isinstance(trait, traitlets.Float):
        made = ipywidgets.BoundedFloatText(**{"max": 1e9} | bounds | common)
    elif isinstance(trait, traitlets.Int) and len(bounds) == 2 and "step" not in words:
        made = ipywidgets.IntSlider(continuous_update=False, **bounds, **common)
    elif isinstance(trait, traitlets.Int):
        made = ipywidgets.BoundedIntText(**{"max": 10**9} | bounds | common)
    else:
        made = ipywidgets.Text(continuous_update=False, **common)
    traitlets.link((model, name), (made, "value"))
    return made


def on_front_end(function: Callable[[dict[str, Any]], None]) -> Callable[..., None]:
    """Return a handler of a widget's messages that receives only their content."""

    def handle(_: Any, content: dict[str, Any], __: Any) -> None:
        function(content)

    return handle
