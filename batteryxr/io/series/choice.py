"""Choose the columns for axis and values of a file, by their names, not places."""

from __future__ import annotations

import re

from batteryxr.core.errors import ArgumentError
from batteryxr.io.series.contents import AXES, FORMULAS, Choice, FileColumns, Pick
from batteryxr.io.series.roles import BEHIND, UNKNOWN, Role, role_of

#: Roles of columns that hold these values already.
_READY = {
    "transmission": "mu",
    "fluorescence": "mu_fluo",
    "electron_yield": "mu_tey",
    "reference": "mu_ref",
}
_MEASURED = ("transmission", "fluorescence", "electron_yield")
_MONITORS = ("i0", "it", "ir", "fluo", "tey", "time", "intensity", "temperature")
#: Axis -> roles of the values measured along it.
_VALUES = {
    "energy": ("intensity",),
    "r": ("pdf",),
    "q": ("intensity", "structure"),
    "two_theta": ("intensity",),
    "shift": ("intensity", "absorbance", "transmittance", "reflectance"),
}
_CALLED = {"structure": "intensity"}
_SPECTRAL = ("intensity", "absorbance", "transmittance", "reflectance")
#: File ending -> axis, used if the header does not say. A .chi may be either.
BY_SUFFIX = {
    ".gr": "r",
    ".iq": "q",
    ".sq": "q",
    ".fq": "q",
    ".xy": "two_theta",
    ".xye": "two_theta",
    ".fxye": "two_theta",
    ".ras": "two_theta",
    ".uxd": "two_theta",
    ".xdi": "energy",
    ".xmu": "energy",
    ".nor": "energy",
    ".xsp": "energy",
    ".dpt": "shift",
}
#: File ending -> most unnamed columns with which the second holds the values.
_NAMELESS = {".gr": 4, ".xye": 3, ".chi": 3, ".iq": 3, ".sq": 3, ".fq": 3, ".fxye": 3}
#: File endings for absorption without column names.
_ABSORPTION = (".xmu", ".nor")
#: Names for scans over 2theta.
_TWICE = re.compile(
    r"(?:2|two)[\s_-]*(?:theta|th|θ)|gonio|coupled|locked", re.IGNORECASE
)
#: Names of counts in a detector's window, of its rates and times, of dark counts.
_WINDOW = re.compile(
    r"(?<![a-z])(?:roi|sca(?!l)|mca|sdd|xmap|xrf|fluo|lytle|ketek|amptek|vortex|xspress"
    r"|falcon|dxp|[pt]fy|ge(?![a-z]))",
    re.IGNORECASE,
)
#: Two letters that stand for an element: D1_Ni_sum. "In" and "As" are words.
_EMITTER = re.compile(
    r"(?<![A-Za-z])(?!In|As)"
    r"(?:[ACMN]a|[FG]e|[CNT]i|[CP]r|Mn|C[odu]|N[bd]|Z[nr]|[AM]g|Al|S[inrbm]|Cl|Mo|P[bdt]"
    r"|A[gu]|R[uhb]|Br|Ba|[LT]a|Ce|Eu|Hf|Bi)(?![a-z])"
)
#: Names of a beam behind the sample.
_PASSED = re.compile(r"i_?t(?![a-z])|(?:x?mu_?|i_?)?trans?(?![a-z])", re.IGNORECASE)
_RATE = re.compile(
    r"[io]cr|dead|live|clock|time|outputcounts|(?<![a-z])i0", re.IGNORECASE
)
_DARK = re.compile(r"dark|(?<![a-z])offset|backgr", re.IGNORECASE)
#: Dark counts of each channel in a second, as 9809 files give them.
_OFFSETS = re.compile(r"(?im)^ *offset(?: +0)*(?= .*[1-9])(?: +-?[\d.]+)+ *$")
_COORDINATES = (
    *("x", "y", "z", "time", "temperature", "coordinate_1", "coordinate_2"),
)


def choose(file: FileColumns, axis: str | None, column: int | str | None) -> Choice:
    """Choose axis and values of a file.

    Raises
    ------
    ArgumentError
        If the choice is ambiguous; the message lists the columns and the remedy.
    """
    name, position = _axis(file, axis)
    moved = file.header.scanned()
    if name == "two_theta" and axis is None and moved and not _TWICE.search(moved):
        raise ArgumentError(
            "axis",
            axis,
            "'two_theta', if that is what you mean",
            f"{file.path.name} says that it runs over {moved!r}.",
        )
    roles = file.roles(name)
    picks, note = _picks(file, name, position, column)
    if file.names.count(file.names[position] if file.names else "") > 1:
        twice = (
            f"{file.path.name} calls several columns {file.names[position]!r}: the "
            f"first of them, column {position}, is the axis."
        )
        note = f"{note} {twice}".strip()
    if file.header.misfit:
        names = ", ".join(file.header.misfit)
        misfit = (
            f"{file.path.name} names {len(file.header.misfit)} columns ({names}) and "
            f"has {file.n}: which one is missing is not told, and they were taken by "
            "their place. Pass columns= by number."
        )
        note = f"{note} {misfit}".strip()
    used = {position, *(c for p in picks for group in p.groups for c in group)}
    beside = {
        role.name: i
        for i, role in reversed(list(enumerate(roles)))
        if role.name in _COORDINATES and i not in used
    }
    return Choice(name, position, file.units(position, name), picks, beside, note)


def _axis(file: FileColumns, axis: str | None) -> tuple[str, int]:
    roles = file.roles(axis or "")
    found = [(i, r) for i, r in enumerate(roles) if r.name in AXES and _bears(i, file)]
    if axis is None and any(r.name == "energy" for _, r in found):
        # an "angle" beside energies is that of the monochromator
        found = [(i, r) for i, r in found if (r.name, r.rank) != ("two_theta", 1)]
    for wanted in [axis] if axis else [r.name for _, r in found]:
        same = [(r.rank, i) for i, r in found if r.name == wanted]
        if same:
            rank, position = min(same)
            angle = wanted == "two_theta" and rank == 1 and file.header.spacing() > 0
            return ("energy" if angle else str(wanted)), position
    angles = [i for i, r in enumerate(roles) if r.name == "angle"]
    if angles and axis in (None, "energy") and file.header.spacing() > 0:
        return "energy", angles[-1]
    told = axis or (None if found else file.header.told_axis())
    told = told or (None if found else BY_SUFFIX.get(file.suffix))
    first = roles[0] if roles else UNKNOWN
    turned = {"angle", "two_theta"}
    bears = {"", "x", *AXES, *turned} - (turned if told == "energy" else set())
    if told and first.name in bears:
        return str(told), 0
    raise ArgumentError(
        "axis",
        axis,
        f"one of {list(AXES)}",
        f"Neither header nor name of {file.path.name} tells what its axis is: it has "
        f"{file.listed()}.",
    )


def _bears(i: int, file: FileColumns) -> bool:
    """Tell whether a column may be the axis: one letter if it is first or has units."""
    told = file.header.units[i] in ("eV", "keV")
    return i == 0 or len(file.names[i]) > 1 or told


def _picks(
    file: FileColumns, axis: str, position: int, column: int | str | None
) -> tuple[tuple[Pick, ...], str]:
    usual = {"r": "pdf", "energy": "absorption"}.get(axis, "intensity")
    if isinstance(column, int) and not isinstance(column, bool):
        return (_numbered(file, axis, position, column, usual),), ""
    if column is not None:
        return (_named(file, axis, str(column), usual),), ""
    if not file.names or _generic(file):
        return (_nameless(file, axis, position, usual),), ""
    if axis == "energy":
        found, note = _absorption(file, axis)
        if found:
            return found, note
        if _of_athena(file):
            return tuple(
                Pick(((i,),), "", usual, name)
                for i, name in enumerate(file.names)
                if i != position
            ), ""
    found = _values(file, axis, position)
    if not found:
        raise _unknown(file, axis, None)
    return found, ""


def _unknown(
    file: FileColumns, axis: str, column: object, mend: str = ""
) -> ArgumentError:
    what = "absorption" if axis == "energy" else f"the values along {axis}"
    return ArgumentError(
        "columns",
        column,
        "the name or number of a column, or 'all'",
        mend
        or f"Nothing in {file.path.name} says which column is {what}. It has "
        f"{file.listed()}. Pass columns= with the one that you mean, or 'all'.",
    )


def _generic(file: FileColumns) -> bool:
    """Tell whether a file has just two columns, named x and y."""
    return [n.lower() for n in file.names] in (["x", "y"], ["#x", "y"])


def _numbered(
    file: FileColumns, axis: str, position: int, column: int, usual: str
) -> Pick:
    if not 0 <= column < file.n or column == position:
        raise _unknown(
            file,
            axis,
            column,
            f"{file.path.name} has {file.listed()}; {position} is the axis.",
        )
    name = file.names[column] if file.names else ""
    return Pick(((column,),), "", _asked(name, axis, usual), name)


def _asked(name: str, axis: str, usual: str) -> str:
    """Return the quantity that a requested column holds."""
    role = role_of(name, axis).name if name else ""
    if role in ("absorbance", "transmittance", "reflectance"):
        return role
    return "intensity" if role in _MONITORS else usual


def _named(file: FileColumns, axis: str, column: str, usual: str) -> Pick:
    names = [n.lower() for n in file.names]
    wanted = column.lower()
    if wanted in names:
        i = names.index(wanted)
        return Pick(((i,),), "", _asked(file.names[i], axis, usual), file.names[i])
    formula = wanted if file.names and wanted in FORMULAS else ""
    pick = formula and (_formula(file, axis, wanted) or _ready(file, axis, wanted))
    if isinstance(pick, Pick):
        return pick
    has = f"{file.path.name} has {file.listed()}"
    needs = FORMULAS[wanted][0] if wanted in FORMULAS else ()
    mend = f"{has}; {wanted} needs {' and '.join(needs)}." if needs else f"{has}."
    raise ArgumentError(
        "columns",
        column,
        f"a column's name or number, 'all', or one of {list(FORMULAS)[:4]}",
        mend,
    )


def _nameless(file: FileColumns, axis: str, position: int, usual: str) -> Pick:
    """Return the second of several unnamed columns, if the choice is unambiguous."""
    most = _NAMELESS.get(file.suffix, 2) if axis != "energy" else 2
    if file.n > most or position != 0:
        raise _unknown(file, axis, None)
    named = axis != "energy" or file.suffix in _ABSORPTION
    return Pick(((1,),), "", usual if named else "intensity", "")


def _group(file: FileColumns, axis: str, role: str) -> tuple[int, ...]:
    """Return the columns of a role: the plainest one, or all elements of a detector."""
    found = [(r, i) for i, r in enumerate(file.roles(axis)) if r.name == role]
    whole = [(r.rank, i) for r, i in found if not r.part]
    if whole:
        best = min(whole)[0]
        same = [i for rank, i in whole if rank == best]
        lines = {r.about for r, i in found if i in same}
        wanted = file.header.element()
        if len(same) > 1 and len(lines) > 1 and wanted:
            same = [i for r, i in found if i in same and r.about == wanted]
        return (same[0],) if len(same) == 1 else ()
    lines = {r.about for r, _ in found}
    return tuple(i for _, i in found) if len(lines) == 1 else ()


def _ready(file: FileColumns, axis: str, formula: str) -> Pick | None:
    columns = _group(file, axis, _READY.get(formula, ""))
    if not columns:
        return None
    return Pick((columns,), "", "absorption", file.names[columns[0]])


def _formula(file: FileColumns, axis: str, formula: str) -> Pick | None:
    groups = tuple(_group(file, axis, role) for role in FORMULAS[formula][0])
    if not all(groups):
        return None
    quantity = "intensity" if formula == "attenuated" else "absorption"
    return Pick(groups, formula, quantity, formula)


def _absorption(file: FileColumns, axis: str) -> tuple[tuple[Pick, ...], str]:
    """Return absorption, named or computed from monitors, and a note on other kinds."""
    ready = {f: _ready(file, axis, f) for f in _MEASURED}
    found = {f: ready[f] or _formula(file, axis, f) for f in _MEASURED}
    roles = file.roles(axis)
    if Role("tey", 1) in roles and any(
        r.name == "ir" or _detects(n, r.name)
        for n, r in zip(file.names, roles, strict=True)
    ):  # "I_sample" before "I_ref" is a beam, beside counts it may be anything
        found["electron_yield"] = None
    there = [(f, pick) for f, pick in found.items() if pick]
    if not there:
        return (), ""
    first, pick = there[0]
    others = [f for f, _ in there[1:]]
    notes = []
    if others:
        notes.append(
            f"the files hold {first} and {' and '.join(others)}: {first} is read"
            f" ({pick.column!r}). Pass columns={others[0]!r} for the other, or 'all'."
        )
    used = {c for _, p in there for group in p.groups for c in group}
    left = {i: n for i, n in enumerate(file.names) if i not in used}
    seen = [n for i, n in left.items() if _detects(n, roles[i].name)]
    passed = [n for n in left.values() if _PASSED.match(n) and not _RATE.search(n)]
    if first != "transmission" and passed and not found["transmission"]:
        notes.append(
            f"{first} is read ({pick.column!r}), and {_some(passed)} may be of a "
            "transmission: if that was measured, pass columns= with the one you mean."
        )
    if first != "fluorescence" and seen and not found["fluorescence"]:
        notes.append(
            f"{first} is read ({pick.column!r}), and {_some(seen)} may be "
            "fluorescence: if that was measured, pass columns= with the one you mean."
        )
    if file.counted and used.intersection(file.counted):
        beams = ", ".join(f"{file.names[i]!r}" for i in file.counted)
        notes.append(
            f"{beams} are taken for the incident, transmitted and reference beam by "
            "their order: nothing in the file says so."
        )
    if behind := [file.names[i] for i in sorted(used) if roles[i].rank >= BEHIND]:
        notes.append(
            f"{_some(behind)}: what stands before the known name is taken for that of "
            "a device."
        )
    alike = [n for i, n in left.items() if _alike(n, roles[i], ("mu",))]
    if not pick.formula and alike:
        notes.append(
            f"{first} is read ({pick.column!r}), and {_some(alike)} may be spectra of "
            "other samples: pass columns= with the one you mean, or 'all'."
        )
    dark = [n for n in left.values() if _DARK.search(n)]
    if pick.formula and (given := _OFFSETS.search(file.text)):
        dark.append(" ".join(given[0].split()))
    if pick.formula and dark:
        notes.append(
            f"{_some(dark)} are not subtracted from the monitors: if they are still to "
            "be, read columns='all' and subtract them."
        )
    return (pick,), " ".join(notes)


def _detects(name: str, role: str) -> bool:
    """Tell whether a column that is not read may hold fluorescence."""
    emits = not role and _EMITTER.search(name)
    known = role == "fluo" or emits or _WINDOW.search(name)
    return bool(known) and not _RATE.search(name)


def _some(names: list[str]) -> str:
    return ", ".join(map(repr, names[:3])) + (", ..." if len(names) > 3 else "")


def made(file: FileColumns, axis: str) -> list[str]:
    """Return the names of `FORMULAS` that the columns of a file allow."""
    if not file.names:
        return []
    return [f for f in FORMULAS if f != "attenuated" and _formula(file, axis, f)]


def _of_athena(file: FileColumns) -> bool:
    """Tell whether the columns are spectra under their own names, as Athena exports."""
    exported = re.search(r"athena|demeter|larch|larix", file.text, re.IGNORECASE)
    return bool(exported) or file.suffix in (".nor", ".flat", ".norm")


def _alike(name: str, role: Role, kinds: tuple[str, ...]) -> bool:
    """Tell whether a column without a role has part of its name from one that is read.

    Beside "Intensity A", "Intensity B" is not known to be anything else.
    """
    if role.name:
        return role.rank >= BEHIND and role.name in kinds
    words = re.findall(r"[^\W\d_]{2,}" if "mu" in kinds else r"[^\W\d_]{3,}", name)
    return any(
        role_of(word, "energy" if "mu" in kinds else "").name in kinds for word in words
    )


def _values(file: FileColumns, axis: str, position: int) -> tuple[Pick, ...]:
    roles = file.roles(axis)
    if (pick := _formula(file, axis, "attenuated")) and axis == "two_theta":
        return (pick,)
    found = [
        (r, i) for i, r in enumerate(roles) if r.name in _VALUES[axis] and i != position
    ]
    kinds = {r.name for r, _ in found}
    ranks = {r.rank for r, _ in found}
    if 0 in ranks and kinds == {"intensity"}:
        found = [(r, i) for r, i in found if r.rank == 0]
    elif len(kinds) > 1 or len(ranks) > 1:
        raise _unknown(file, axis, None)
    if any(_alike(n, r, _SPECTRAL) for n, r in zip(file.names, roles, strict=True)):
        return ()
    if axis == "energy" and any(re.fullmatch(r"\D+0", file.names[i]) for _, i in found):
        return ()  # "Int0" beside "Int1": monitors along the beam
    if axis == "energy" and any(
        r.name in ("i0", "it", "fluo", "tey", "")
        for i, r in enumerate(roles)
        if i != position
    ):
        return ()
    return tuple(
        Pick(((i,),), "", _CALLED.get(r.name, r.name), file.names[i]) for r, i in found
    )
