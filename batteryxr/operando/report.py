"""The report of an operando experiment: what was read, joined and found."""

from __future__ import annotations

import html
import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.errors import ArgumentError, StoreError
from batteryxr.core.plotting import load_hvplot, plain, plainly_labelled
from batteryxr.core.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import xarray as xr

    from batteryxr.operando.findings import Findings

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1c2733; background: #fff;
       max-width: 1060px; margin: 2rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.7rem; margin-bottom: .2rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid #d7dee6; }
.summary { color: #51606f; margin-top: 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem .9rem .25rem 0; vertical-align: top; }
thead th { border-bottom: 1px solid #d7dee6; font-weight: 600; }
td.number, th.number { text-align: right; }
.note { background: #fff6e0; border-left: 4px solid #e0a100; padding: .5rem .9rem;
        margin: .5rem 0; }
pre { background: #f4f6f8; padding: .8rem 1rem; overflow-x: auto; font-size: .85rem; }
.scroll { overflow-x: auto; }
"""
#: By which a report is known.
_MADE = "<meta name='generator' content='batteryxr'>"
_WIDTH = 900
_HALF_CYCLES = {
    "direction": "Direction",
    "capacity": "Capacity / mA h",
    "energy": "Energy / mW h",
    "mean_voltage": "Mean voltage / V",
    "duration": "Duration / s",
    "complete": "Complete",
}
_CYCLES = {
    "charge_capacity": "Charge / mA h",
    "discharge_capacity": "Discharge / mA h",
    "coulombic_efficiency": "Coulombic efficiency",
    "energy_efficiency": "Energy efficiency",
    "voltage_hysteresis": "Hysteresis / V",
    "capacity_retention": "Retention",
}


class Report:
    """A page that is filled from top to bottom and written once.

    Parameters
    ----------
    title
        Heading of the page.
    summary
        One sentence under it.
    """

    def __init__(self, title: str, summary: str = "") -> None:
        self._title = title
        self._body: list[str] = [
            f"<h1>{html.escape(title)}</h1>",
            f"<p class='summary'>{html.escape(summary)}</p>",
        ]
        self._figures: list[Any] = []

    def heading(self, text: str) -> None:
        """Start a section."""
        self._body.append(f"<h2>{html.escape(text)}</h2>")

    def text(self, text: str) -> None:
        """Add a paragraph."""
        self._body.append(f"<p>{html.escape(text)}</p>")

    def notes(self, texts: Iterable[str]) -> None:
        """Add highlighted remarks, for what the reader must not miss."""
        for text in texts:
            self._body.append(f"<p class='note'>{html.escape(text)}</p>")

    def code(self, text: str) -> None:
        """Add a block of code."""
        self._body.append(f"<pre>{html.escape(text)}</pre>")

    def facts(self, rows: Iterable[tuple[str, object]]) -> None:
        """Add a two-column table of names and values."""
        cells = "".join(
            f"<tr><th>{html.escape(name)}</th><td>{html.escape(str(value))}</td></tr>"
            for name, value in rows
        )
        self._body.append(f"<table>{cells}</table>")

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Add a table; numbers are right-aligned, NaN is a dash."""
        head = "".join(f"<th class='number'>{html.escape(c)}</th>" for c in columns)
        body = "".join(
            "<tr>" + "".join(_cell(v) for v in row) + "</tr>" for row in rows
        )
        self._body.append(
            f"<div class='scroll'><table><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table></div>"
        )

    def figure(self, plot: Any) -> None:
        """Add an hvplot or holoviews figure."""
        self._body.append(f"\0{len(self._figures)}\0")
        self._figures.append(plot)

    def write(self, path: str | Path) -> Path:
        """Write the page; its only file, with Bokeh's script inside."""
        script, figures = _embed(self._figures)
        body = "\n".join(self._body)
        for number, figure in enumerate(figures):
            body = body.replace(f"\0{number}\0", figure)
        page = (
            "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
            "<meta name='viewport' content='width=device-width'>"
            f"{_MADE}"
            f"<title>{html.escape(self._title)}</title><style>{_STYLE}</style>"
            f"{script}</head><body>{body}"
            f"<p class='summary'>Made by batteryxr {html.escape(__version__)}.</p>"
            "</body></html>"
        )
        path = Path(path)
        partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
        try:
            partial.write_text(page, encoding="utf-8")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        return path


def require_page(
    path: str | Path, overwrite: bool, *, beside: Path | None = None
) -> None:
    """Raise unless a report can be written to a file, beside the store's folder.

    Raises
    ------
    ArgumentError
        If its folder is not there, or it would lie in the store.
    StoreError
        If the file is there and is not to be replaced, or is no report.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise ArgumentError("report", str(path), "a file in a folder that is there")
    if beside is not None and path.resolve().is_relative_to(beside.resolve()):
        raise ArgumentError("report", str(path), "a file beside the store, not in it")
    if not path.exists() and not path.is_symlink():
        _require_writable(path)
        return
    if not overwrite:
        raise StoreError(
            f"{path} is there already. Pass overwrite=True (--overwrite) to replace it."
        )
    if path.is_symlink() or not path.is_file() or not _is_report(path):
        raise StoreError(
            f"{path} is no report of batteryxr, so it is not replaced. Choose another "
            "file."
        )


def _require_writable(path: Path) -> None:
    """Raise unless a file can be made there: before the work, not after it."""
    try:
        path.open("xb").close()
        path.unlink()
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}.") from error


def _is_report(path: Path) -> bool:
    with path.open("rb") as file:
        return _MADE.encode() in file.read(1000)


def write_page(run: Findings, path: str | Path, *, store: str | Path) -> Path:
    """Write the report of a run.

    Parameters
    ----------
    run
        A finished run.
    path
        HTML file to write.
    store
        Name of the store as the reader will find it.
    """
    record, scans = run.read("echem/record"), _series(run.read(f"{run.kind}/scans"))
    title = str(record.attrs.get("title") or "Operando experiment")
    page = Report(title, "An operando experiment, from files to phases.")
    page.notes(run.notes)
    page.facts(_facts(record, scans, store))
    page.heading("Voltage, and the scans on it")
    page.figure(record.echem.plot.operando(scans).opts(width=_WIDTH))
    page.heading("Half cycles and cycles")
    _tables(page, run)
    page.heading("Differential capacity")
    page.figure(run.read("echem/dqdv").echem.plot.dqdv().opts(width=_WIDTH))
    page.heading("Scans")
    page.figure(_map(scans, run.read(f"{run.kind}/nmf")[str(scans.dims[-1])]))
    _phases(page, run)
    page.heading("Go on from here")
    page.code(
        "import batteryxr\n\n"
        f'experiment = batteryxr.open_store("{store}")\n'
        f'experiment["{run.kind}/nmf"]  # everything is labelled: dims, units, calls'
    )
    return page.write(path)


def _series(dataset: xr.Dataset) -> xr.DataArray:
    return next(iter(dataset.data_vars.values()))


def _facts(
    record: xr.Dataset, scans: xr.DataArray, store: str | Path
) -> list[tuple[str, object]]:
    seconds = float(record["test_time"][-1] - record["test_time"][0])
    joined = int(np.isfinite(scans["voltage"]).sum())
    odd = int(scans["crosses_reversal"].sum())
    return [
        ("Store", store),
        ("Cycler", f"{record.attrs.get('instrument', '')}".strip() or "not told"),
        ("Rows", f"{record.sizes['record']} over {seconds / 3600:.2f} h"),
        ("Scans", f"{scans.sizes['scan']} on {scans.sizes[scans.dims[-1]]} points"),
        ("Joined", f"{joined} of {scans.sizes['scan']}"),
        ("With a reversal of current inside", odd),
        (
            "Voltage within one scan",
            f"median spread {float(_spread(scans).median()) * 1e3:.3g} mV, "
            f"largest {float(_spread(scans).max()) * 1e3:.3g} mV",
        ),
        ("Clock", _clock(scans)),
    ]


def _clock(scans: xr.DataArray) -> str:
    clock = json.loads(scans.attrs["clock"])
    error = clock["offset_error"]
    known = "" if error is None else f" ± {error:.2g}"
    return f"{clock['method']}, offset {clock['offset_s']:g}{known} s"


def _spread(scans: xr.DataArray) -> xr.DataArray:
    return (scans["voltage_max"] - scans["voltage_min"]).compute()


def _tables(page: Report, run: Findings) -> None:
    wanted = [("half_cycle", _HALF_CYCLES)]
    if run.has("echem/cycles"):
        wanted.append(("cycle", _CYCLES))
    for dim, columns in wanted:
        table = run.read(f"echem/{dim}s").load()
        present = {k: v for k, v in columns.items() if k in table}
        rows = [
            [int(number), *(table[k].values[i].item() for k in present)]
            for i, number in enumerate(table[dim].values)
        ]
        heading = dim.replace("_", " ").capitalize()
        page.table([heading, *present.values()], rows)
    if run.has("echem/cycles"):
        page.figure(run.read("echem/cycles").echem.plot.cycles().opts(width=_WIDTH))


def _map(scans: xr.DataArray, part: xr.DataArray) -> Any:
    """Return an image of the scans over the part of the axis that was unmixed."""
    load_hvplot()
    signal = plain(str(scans.dims[-1]))
    numbers = np.arange(1, scans.sizes["scan"] + 1)
    bare = plainly_labelled(scans.reset_coords(drop=True)).assign_coords(scan=numbers)
    bare["scan"].attrs = {"long_name": "Scan", "units": "1"}
    # An image has even steps, and no more of them than a screen.
    every = max(1, scans.sizes["scan"] // 500)
    axis = np.linspace(float(part[0]), float(part[-1]), min(500, part.size))
    shown = bare.isel(scan=slice(None, None, every)).compute().interp({signal: axis})
    shown[signal].attrs = bare[signal].attrs
    return shown.astype("f4").hvplot.image(
        x=signal,
        y="scan",
        cmap="viridis",
        clim=(float(shown.min()), float(shown.max())),
        width=_WIDTH,
        height=320,
    )


def _phases(page: Report, run: Findings) -> None:
    pca = run.read(f"{run.kind}/pca").load()
    page.heading("How many components?")
    page.text(
        "Shares of the principal components, largest first. They count what varies; "
        "being orthogonal they turn negative, so they are not phases."
    )
    page.table(
        ["Component", "Share of all variance", "Not explained by so many"],
        [
            [
                number + 1,
                float(share),
                float(1 - pca["explained_variance_ratio"].values[: number + 1].sum()),
            ]
            for number, share in enumerate(pca["explained_variance_ratio"].values[:6])
        ],
    )
    unmixed = run.read(f"{run.kind}/nmf").load()
    page.heading("Phases and their ratios")
    page.text(
        f"Non-negative factorisation into {unmixed.sizes['component']} components; the "
        f"relative error is {float(unmixed['relative_error']):.3g}, and no "
        f"factorisation of so many can be below {float(unmixed['svd_error']):.3g}. "
        "Where the two agree the residual cannot tell the solution from its rotations: "
        "fix what is known, such as an end member, before reading the ratios."
    )
    page.figure(unmixed.nmf.plot.components().opts(width=_WIDTH))
    page.figure(unmixed["weights"].echem.plot.with_voltage(x=_axis(unmixed)))
    page.figure(unmixed.nmf.plot.residual().opts(width=_WIDTH))


def _axis(result: xr.Dataset) -> str:
    return "li_content" if "li_content" in result.coords else "time"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"<td class='number'>{'–' if value != value else f'{value:.5g}'}</td>"
    if isinstance(value, int):
        return f"<td class='number'>{value}</td>"
    return f"<td>{html.escape(str(value))}</td>"


def _embed(plots: list[Any]) -> tuple[str, list[str]]:
    if not plots:
        return "", []
    hv = load_hvplot()
    from bokeh.embed import components
    from bokeh.resources import Resources

    models = [hv.render(plot, backend="bokeh") for plot in plots]
    for model in models:
        _without_formulas(model)
    script, figures = components(tuple(models))
    bundle = Resources(mode="inline", components=["bokeh", "bokeh-api"]).render()
    return bundle + script, list(figures)


def _without_formulas(figure: Any) -> None:
    """Part the signs of formulas, which the reader's browser would fetch a script for.

    Texts come from files and stores of anybody.
    """
    for model in figure.references():
        for name, value in model.properties_with_values(include_defaults=False).items():
            if isinstance(value, str) and plain(value) != value:
                setattr(model, name, plain(value))
