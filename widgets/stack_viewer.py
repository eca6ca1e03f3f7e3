"""The stack viewer: pictures, with the spectrum of each pixel."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import anywidget
import numpy as np
import traitlets

from batteryxr.core.model import DIMENSIONS
from batteryxr.core.units import written
from batteryxr.widgets.drawing import title_of
from batteryxr.widgets.frames import frames, thinning, tile
from batteryxr.widgets.models.stack import StackModel
from batteryxr.widgets.view import STYLE, Panel, bundle, on_front_end
from batteryxr.widgets.work import Work

if TYPE_CHECKING:
    import xarray as xr

    from batteryxr.widgets.frames import Frame
    from batteryxr.widgets.work import Job


_HANDS = "move to see, click to hold, drag a region, Ctrl + wheel to zoom"


class Viewer(anywidget.AnyWidget):
    """Hold the stack in the browser, and ask for exact values at rest."""

    _esm = bundle("viewer.js")
    _css = STYLE
    about = traitlets.Dict().tag(sync=True)
    exact = traitlets.Dict().tag(sync=True)
    axis = traitlets.Unicode().tag(sync=True)
    index = traitlets.Int(0).tag(sync=True)
    pixel: Any = traitlets.List().tag(sync=True)
    region: Any = traitlets.List().tag(sync=True)
    window: Any = traitlets.List().tag(sync=True)
    part = traitlets.Unicode("real").tag(sync=True)
    poster = traitlets.Unicode("").tag(sync=True)


class StackViewer(Panel, of=StackModel):
    """Look at a stack along any axis, with the spectrum of a pixel or a region.

    Move over the picture to see the spectrum there, click to hold a pixel, drag a
    region. Move over the spectrum, or use the slider, to change the picture. Ctrl and
    the wheel zoom, a drag with Shift moves the view. With the keyboard: arrows move the
    pixel, Page Up and Page Down change the picture, plus and minus zoom, 0 shows all,
    Escape drops the region.

    Lazy data are read in blocks, those around the picture first, and are never held as
    a whole. Exact values come from the data where the pointer rests. Beyond 128 MB a
    stack moves in the browser with each second (third, ...) pixel; when it rests, the
    part in view is read again at the resolution of the screen.

    Parameters
    ----------
    data
        A stack (energy, y, x), a volume (z, y, x), a series of pictures or one
        picture, real or complex; or a dataset with one stack.
    name
        Name of the data in the code; by default their variable in the notebook.
    **choice
        Further choices, as in ``panel.choice``: ``axis``, ``index``, ``pixel``,
        ``region``, ``window``, ``part``.

    Raises
    ------
    DimensionError, VariableError
        If there is no stack, or more than one.
    """

    def __init__(
        self, data: xr.DataArray | xr.Dataset, *, name: str | None = None, **choice: Any
    ) -> None:
        kind = (
            "cdi.view" if np.iscomplexobj(getattr(data, "dtype", 0)) else "xanes.view"
        )
        model = StackModel(data, name=name, accessor=kind)
        if choice:
            model.choose(**choice)
        self.model = model
        self.viewer = Viewer(about=_about(model))
        for trait in ("axis", "index", "pixel", "region", "window", "part"):
            traitlets.link((model, trait), (self.viewer, trait))
        self.viewer.on_msg(on_front_end(self._of_viewer))
        self._reading, self._looking, self._sharpening = Work(), Work(), Work()
        title = title_of(model.array) or "Stack"
        super().__init__(
            model,
            title=title,
            hint=_HANDS,
            controls=[],
            body=self.viewer,
        )
        model.observe(self._show, "answer")
        model.observe(lambda _: self.send_frames(), "part")
        self._show()

    def send_frames(self) -> None:
        """Send all pictures to the browser, in the background."""
        stack, part, first = self.model.stack, self.model.part, self._first()

        def read(job: Job) -> None:
            for frame in frames(stack, part, first):
                job.check()
                job.post(functools.partial(self._send_frame, frame))

        self._reading.submit(
            read, failed=self.model.fail, progress=self._tell, delay=0.0
        )

    def _first(self) -> int:
        along = self.model.axis == self.model.stack.dims[0]
        return self.model.index if along else 0

    def _send_frame(self, frame: Frame) -> None:
        header = {"kind": "frame", "place": frame.place, "part": self.model.part}
        header |= {"base": frame.base, "step": frame.step}
        if np.isfinite(frame.low):
            header |= {"low": frame.low, "high": frame.high}
        self.viewer.send(header, [frame.numbers.tobytes()])

    def _tell(self, what: str, share: float) -> None:
        self.foot.note = "" if share >= 1 else f"{what}, {max(share, 0):.0%}"

    def _of_viewer(self, content: dict[str, Any]) -> None:
        if content["kind"] == "ready":
            self.send_frames()
        elif content["kind"] == "look":
            self._look(content)
        elif content["kind"] == "tile":
            self._sharpen(content)

    def _sharpen(self, content: dict[str, Any]) -> None:
        """Answer with the part in view at screen resolution; the latest wins."""
        at: dict[str, Any] = {k: content[k] for k in ("axis", "index", "window")}
        stack, part = self.model.stack, self.model.part

        def read(job: Job) -> None:
            every, found = tile(
                stack, part, every=content["every"], check=job.check, **at
            )
            header = {"kind": "tile", "part": part, "every": every} | at
            header |= {"wanted": content["every"]}
            header |= {"base": found.base, "step": found.step}
            job.post(lambda: self.viewer.send(header, [found.numbers.tobytes()]))

        self._sharpening.submit(
            read, failed=self.model.fail, progress=lambda *_: None, delay=0.0
        )

    def _look(self, content: dict[str, Any]) -> None:
        """Send the exact profile of the pixel where the pointer rests."""
        axis, (row, column) = content["axis"], content["at"]

        def read(job: Job) -> None:
            values = self.model.look(axis, row, column)
            reply = {"kind": "exact", "at": [row, column], "axis": axis}
            job.post(lambda: self.viewer.send(reply, [values.tobytes()]))

        self._looking.submit(
            read, failed=self.model.fail, progress=lambda *_: None, delay=0.0
        )

    def _show(self, *_: Any) -> None:
        answer = self.model.answer
        if answer is None:
            return
        exact = {
            key: np.asarray(array.values, dtype=np.float64).tobytes()
            for key in ("pixel", "region", "spread")
            if (array := getattr(answer, key)) is not None
        }
        self.viewer.exact = exact | {
            "axis": self.model.axis,
            "at": list(self.model.pixel),
            "inside": list(self.model.region),
        }

    def close(self) -> None:
        """Stop reading and close the widget."""
        for name in ("_reading", "_looking", "_sharpening"):
            if work := getattr(self, name, None):  # none where no stack was passed
                work.cancel()
        super().close()


def _about(model: StackModel) -> dict[str, Any]:
    """Return the facts that the browser needs before the first picture."""
    stack = model.stack
    thin = thinning(stack.shape)
    axes = []
    for dim, size in zip(stack.dims, stack.shape, strict=True):
        name, values, label, units = str(dim), np.arange(size), "", "1"
        if name in stack.coords and stack[name].dtype.kind in "iuf":
            values, label = stack[name].values, title_of(stack[name])
            units = str(stack[name].attrs.get("units", "1"))
        axes.append(
            {
                "dim": name,
                "label": label or DIMENSIONS.get(name, name),
                "units": written(units),
                "values": values.astype(np.float64).tobytes(),
            }
        )
    return {
        "shape": list(stack.shape),
        "thin": thin,
        "flat": model.flat,
        "axes": axes,
        "label": title_of(model.array) or "Value",
        "complex": model.array.dtype.kind == "c",
    }
