"""Model of a panel that also compares numbers of parts, beside its calculation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import traitlets

from batteryxr.widgets.models.base import PanelModel
from batteryxr.widgets.told import told
from batteryxr.widgets.work import DELAY, Work

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr

    from batteryxr.widgets.work import Job


class JudgingModel(PanelModel):
    """Hold indicators for each number of parts, and how far their calculation is.

    A subclass names in `judged_by` the choices on which indicators depend, and gives
    the calculation (`comparison`). Indicators of another choice are not kept.
    """

    #: Choices on which the indicators depend.
    judged_by: ClassVar[tuple[str, ...]] = ()
    #: What is compared.
    parts: ClassVar[str] = ""

    judging = traitlets.Unicode("", help="How far the judging is; empty: at rest.")
    judged = traitlets.Int(0, help="How often indicators came or went.")

    def __init__(self, data: Any, *, accessor: str, name: str | None = None) -> None:
        super().__init__(data, accessor=accessor, name=name)
        #: Indicators for each number, once they are computed.
        self.order: xr.Dataset | None = None
        self._judge = Work()
        self.observe(lambda _: self._forget(), list(self.judged_by))

    def comparison(self) -> Callable[[], xr.Dataset] | None:
        """Return how to compare numbers of parts, or None if nothing is chosen."""
        raise NotImplementedError

    def judge(self, delay: float = DELAY) -> None:
        """Compare numbers in the background."""
        compare = self.comparison()
        if compare is None:
            self.stop_judging()
            return

        def task(job: Job) -> None:
            with told() as warned:
                order = compare()
            job.post(lambda: self._judged(order, "\n".join(warned)))

        def failed(error: Exception) -> None:
            self.judging, self.message = "", str(error)

        def progress(what: str, share: float) -> None:
            self.judging = f"{what}, {max(share, 0):.0%}"

        self.judging = f"Trying numbers of {self.parts}"
        self._judge.submit(task, failed=failed, progress=progress, delay=delay)

    def stop_judging(self) -> None:
        """Stop comparing numbers."""
        self._judge.cancel()
        self.judging = ""

    def cancel(self) -> None:
        """Stop the calculation and the comparison; the display stays."""
        super().cancel()
        self.stop_judging()

    def wait_for_judging(self) -> xr.Dataset | None:
        """Return the indicators for each number, once they are computed."""
        self._judge.wait()
        return self.order

    def _forget(self) -> None:
        self.stop_judging()
        if self.order is not None:
            self.order = None
            self.judged += 1

    def _judged(self, order: xr.Dataset, message: str) -> None:
        self.order, self.judging = order, ""
        self.message = self.message or message
        self.judged += 1
