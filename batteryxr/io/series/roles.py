"""Find what a column holds from its name: a table of words, and one of layouts.

A name is cut into words. It has a role if one of its words (or all of them together)
is in the table, and the other words are neutral, such as "counts".
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batteryxr.io.door.words import LINE

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Axis -> names of its column, letters and digits only, lower case.
AXES: dict[str, re.Pattern[str]] = {
    "energy": re.compile(
        r"en?|eng|e?k?ev|emono|monoe|(arr)?(hdh|mono|dcm)ene|hv|hnu|(?!emi|final|ring|loss|kin|bind|pass|id|gap|undul|wiggl|harm)"
        r"\w*energ(y|ie|ies)"
        r"(?!loss|transfer|resolution|offset|error|step|gap|width|id$|undul|ring|source)\w*"
    ),
    "two_theta": re.compile(
        r"2(th(eta)?|θ)(deg|angle)?|two(th|theta)(angle)?|tth(deg|scan)?|ttheta"
        r"|θ2|2thetascan|pos(ition)?s?2(th(eta)?|θ)|angle2?(th(eta)?|θ)?|scatteringangle"
    ),
    "shift": re.compile(
        r"\w*raman(?!int|sig|cou)\w*|wave(number|numbers)?|rel1cm|1cm|cm1|shift|frequency1cm"
        r"|wellenzahl(en)?|nombredonde"
    ),
    "q": re.compile(r"q|qa1|qnm1|momentumtransfer|scatteringvector|qvalue"),
    "r": re.compile(r"r|distance|ra"),
}
#: Among several columns of one axis, read values are better than set values.
_SET = re.compile(r"req|set|demand|nominal|target|theor|calc|comm?and|goal|\(c\)")
_READ = re.compile(
    r"rbv|readback|achieved|actual|attained|meas|feedback|enc|obs|obtain|\(o\)"
)
#: What may follow an energy in brackets, in place of units.
READ_OR_SET = re.compile(
    r"(?i)requested|set(point)?|demand|nominal|target|actual|achieved|obtained|read(back)?"
    r"|rbv|measured|feedback|encoder|calibrated|corrected"
)
_OF_MONO = re.compile(
    r"mono|dcm|monochromator|photon|beam|x ?ray|xray|incident|eh\d|oh\d"
)
#: An energy whose name is one letter, read or set: "Actual E", "E_set".
_READ_OR_SET = re.compile(
    r"(?:(?:requested|set|demand|actual|achieved|read)[\s_]+)?"
    r"(?P<name>e)(?:[\s_]+(?:requested|set|demand|actual|achieved|read|rbv))?"
)

#: Role -> rank -> names of its column. The lowest rank present is taken.
#: A role ending in "*" gives one spectrum for each of its columns, or their sum.
WORDS: dict[str, tuple[str, ...]] = {
    # monitors of absorption
    "i0": (
        r"i0|io|usic|izero|ic0|ik0|(i|au|gold)?mesh(current)?|gitterstrom|stromgitter|ion0|iono0"
        r"|ionchamber0|iinc|incident(intensity|flux)?|incoming(intensity|flux)?|i0det(ector)?",
        r"mon(itor)?|imon|i0(eh)?[12]",
    ),
    "it": (
        r"it|dsic|ict(rans)?|itrans|itr|itransmission|itransmitted|ittrans|transmitted(intensity|flux)?",
        r"i1|ic1|ik1|ion1|iono1|ionchamber1|i1det(ector)?",
        r"i|trans",
    ),
    "ir": (
        r"ir|iref|irefer|ic(r|ref)|ireference|itref",
        r"i2|ic2|ik2|ion2|iono2|ionchamber2|i2det(ector)?",
    ),
    "fluo": (
        r"if|iff|ifl|iflu|ifluo|ifluor|ifluorescence|fluo|fluor|fluorescence|tfy|pfy"
        r"|pips|lytle|ipips|vortex|canberra|sdd|xmap|apd|fluosum|fluorsum|itfy|ipfy",
    ),
    "tey": (
        r"tey|itey|ey|idrain|drain(current)?|samplecurrent|cey|probenstrom"
        r"|stromprobe",
        r"isample",  # or behind it
    ),
    # absorption that is ready
    "mu": (
        r"mu|xmu|mue|mux|mut|mus(ample)?|x?mutran(s(mission)?)?|mutr|mu0|μx?|μt|μex?|muex|abs|absorption"
        r"|absorbance|xas|xanes|absorptioncoefficient|xasabsorption"
        r"|(sample|trans(mission)?)mu|(ln|log)(i0i[t1]|i0itrans)|minus(ln|log)(i[t1]|itrans)i0|od|opticaldensity|i0itln",
        r"normtrans|normtransmission",
        r"norm|normali[sz]ed(mu|absorption|absorbance|xmu|xas)?|normmu|munorm|xanesnorm",
        r"flat|flattened(mu)?|fnorm",
    ),
    "mu_fluo": (
        r"muf|fluo(r|rescence)?mu|mufluo?r?|muflu|mufluorescence|muif|ffi0|iffi0|ifi0|ifluori0|fluoi0"
        r"|qexafsffi0|tfyi0|pfyi0",
        r"normfluor?",
    ),
    "mu_tey": (r"teyi0|mutey|itei0",),
    "mu_ref": (
        r"muref(erence)?|mur|ref(erence)?mu|(ln|log)(iti(r|ref|refer)|i1i2)|minus(ln|log)(i2i1|iref?it)|ref(erence)?|refnorm",
    ),
    # patterns and vibrational spectra
    "pdf": (r"g|gr|gofr|pdf|gobs",),
    "intensity": (
        r"iobs|yobs|intensityobs|observed",
        r"i|int|intens|intensity|intensities|specdata|iq|i2th(eta)?|raman(intensity)?|yaxis"
        r"|intensitycor|icor|powder|norm(ali[sz]ed)?int(ensity)?|iramplitude"
        r"|intensit(t|dad|)",  # Intensität, intensidad, intensité
        r"counts|count|cts|cps|ccdcts|signal|countrate|countss|ccd",
    ),
    "structure": (r"s|sq|sofq", r"f|fq|fofq"),
    "absorbance": (r"absorbance|abs|abso?rbanz|a|absorbanceunits|extinction",),
    "transmittance": (r"%?transmittance%?|%t|t%|transmission|percentt(ransmittance)?",),
    "reflectance": (r"%?reflectance%?|%r|r%|reflexion",),
    # beside them
    "error": (
        r"sigma|sig|esd|errors?|err|d?i?uncertainty|stdev|std(dev)?|stderr|d[giysf]|dgr"
        r"|\w*(sigma|error|uncertainty|esd)|di|sigi|sigmai|eobs|dsq",
    ),
    "dr": (r"dr|dq|dx",),
    "x": (r"x|xpos|xposition|positionx|samx|sx|xum",),
    "y": (r"y|ypos|yposition|positiony|samy|sy|yum",),
    "z": (r"z|zpos|zposition|positionz|samz|sz|zum",),
    "time": (
        r"\w*time(?!r)\w*|dwell\w*|sec(s|ond|onds)?|epoch|timestamp|counttime|ts|live"
        r"|\w*(dwell|seconds)",
    ),
    "temperature": (r"temp|temperature|\w*temperature",),
    "angle": (
        r"angle\(?[co]?\)?|theta|bragg|monoangle|braggangle|monotheta|thetab|winkel"
        r"|braggwinkel",
    ),
    "calculated": (
        r"[iy]calc?|yobsycalc?|calc\w*|bkg\w*|back\w*|background|diff(erence)?|residual\w*|nbkg|fbkg"
        r"|pre|preedge|pre_edge|post|postedge|nder|nsec|der|sec|deriv\w*|bgr|weight"
        r"|lattice|gdiff|gcalc|bragg_?pos\w*|bkgnorm|dernorm|stddev|refderivative",
    ),
    # axes that are not read, so that none is taken for another
    "other": (r"wavelength\w*|lambda|λ|k|kvector|wavevector|encoder\w*|chi\(?k?\)?",),
    "coordinate_1": (r"coordinate1",),
    "coordinate_2": (r"coordinate2",),
    "attenuation": (r"attenuat\w*|att",),
}
#: Words that do not change what a column holds.
_NEUTRAL = re.compile(
    r"cps|hz|[munpµ]a|det(ector)?s?|counts?|cts|corr?|(dark)?correct(ed)?|raw|exp|eh\d?|oh\d?|ch(an(nel)?)?|mean|avg|av"
    r"|average|sum|amps?|volts?|v|na|a|au|arb|unit|units|current|signal|intensity|scaler"
    r"|ct|arr|arbitrary|dtc|dt|ic|of|the|mono|ionization|ion|chamber|mesh|kev|ev|p\d\d|bl\w?\d*"
    r"|keithley\d*|k\d{3,4}|albaem\d*|femto\d*|sr570|(pico|electro|am)\w*meter|adc\d*|vfc\d*"
    r"|amplifier|(photo)?diode|sample|beam|scan|spectrum|reading|measured|data|values?|entry\d*"
)
_OF = (
    "li|be|b|c|n|o|f|na|mg|al|si|p|s|cl|k|ca|sc|ti|v|cr|mn|fe|co|ni|cu|zn|"
    "ga|ge|as|se|br|rb|sr|y|zr|nb|mo|tc|ru|rh|pd|ag|cd|in|sn|sb|te|i|cs|ba|"
    "la|ce|pr|nd|sm|eu|gd|tb|dy|ho|er|tm|yb|lu|hf|ta|w|re|os|ir|pt|au|hg|tl|"
    "pb|bi|th|u"
)
_ELEMENTS = _OF.split("|")
_K = rf"({_OF})(?:[_ ]?[klm][αβab]\d?|[_ ][klm]\d?)"
#: Fluorescence of an element: fluo_ni, SDD_Ni.
_DETECTED = rf"(?:fluo?|fluor|fluorescence|ifluor?|sdd|vortex)[_ -]({_OF})"
#: An emission line, fe_ka or Fe Kα, over all elements of a detector.
_LINE = re.compile(rf"{_K}(?:[_ ]?(?:sum|dtc|tot\w*))?|{_DETECTED}")
#: One element of a detector: fe_ka_mca3, fe_ka_3, mca7, ge12, vortex_2, mn4.
_PART = re.compile(
    rf"(?:{_K}(?:[_ ]?(?:mca|ch|det|el)[_ ]?|[_ ])\d+"
    r"|(?:mca|ge|sdd|vortex|iff?|i?fluor?|canberra|xmap|xspress3?|fl|pips|element)[_ ]?"
    r"(?:ch(?:an(?:nel)?)?|el(?:em(?:ent)?)?|det)?[_ ]?\d+"
    r"|(sca\d*)[._]\d+"
    rf"|({'|'.join(e for e in _ELEMENTS if len(e) == 2 and e != 'ge')})\d)"
)


@dataclass(frozen=True)
class Dialect:
    """Hold column names of one beamline or program that differ from the usual words.

    Attributes
    ----------
    name
        Name of the beamline or program.
    sign
        Pattern that identifies its headers.
    roles
        Name of a column, in lower case -> its role.
    energy_units
        Units of the energies, if the file does not give them.
    """

    name: str
    sign: re.Pattern[str]
    roles: Mapping[str, str] = field(default_factory=dict)
    energy_units: str = ""


def _row(name: str, sign: str, energy_units: str = "", **roles: str) -> Dialect:
    called = {old.replace("__", " "): role for old, role in roles.items()}
    return Dialect(name, re.compile(sign, re.IGNORECASE), called, energy_units)


#: Layouts whose words mean something else than in `WORDS`, or that give no units.
#: Layouts that follow `WORDS` (XDI, GSECARS, BMM, ISS, QAS, MRCAT, XDAC, SSRL,
#: B18, P64, P65, 10.3.2, HXMA, BioXAS) need no row: `tests` hold a file of each.
LAYOUTS: tuple[Dialect, ...] = (
    _row(
        "ESRF, SPEC zap scans",
        r"zapenergy",
        "keV",
        zapenergy="energy",
        twotheta="angle",
    ),
    _row(
        "ESRF ID26",
        r"arr_hdh_ene",
        "keV",
        arr_hdh_ene="energy",
        arr_i02="i0",
        arr_det_dtc="fluo",
    ),
    _row(
        "ESRF, BLISS",
        r"energy_enc\s+mu_trans|creator = bliss",
        "keV",
        energy_enc="energy",
        mu_trans="mu",
    ),
    _row(
        "SOLEIL SAMBA",
        r"samba|energy\s+theta\s+xmu\s+fluo",
        fluo="mu_fluo",
        fluo_raw="fluo",
        ref="mu_ref",
    ),
    _row("SOLEIL ROCK", r"extranormal|shifted energy", reference="mu_ref"),
    _row(
        "Diamond",
        r"bragg1withoffset|diamond light source",
        "eV",
        bragg1withoffset="energy",
        ff="fluo",
    ),
    _row("Elettra XAFS", r"elettra", i1="i0", i2="it", i3="ir"),
    _row("DESY HASYLAB", r"hasylab|doris", i1="i0", i2="it", i3="ir"),
)


_ANY_SIGN = re.compile(
    "|".join(f"(?:{row.sign.pattern})" for row in LAYOUTS), re.IGNORECASE
)


@dataclass(frozen=True)
class Role:
    """Describe the role of a column, how clearly its name says so, its element.

    Attributes
    ----------
    name
        A key of `WORDS` or of `AXES`; "" if unknown.
    rank
        Rank of the name; 0 is the plainest.
    part
        Whether it is one of several detector elements, of which the sum is read.
    about
        Element of the emission line if the name gives one, such as "fe".
    """

    name: str
    rank: int = 0
    part: bool = False
    about: str = ""


UNKNOWN = Role("")


def layout_of(header: str) -> Dialect | None:
    """Return the layout whose sign a header holds, or None."""
    header = "\n".join(line[:LINE] for line in header.splitlines())
    if not _ANY_SIGN.search(header):
        return None
    return next(row for row in LAYOUTS if row.sign.search(header))


@functools.lru_cache(maxsize=4096)
def role_of(name: str, prefer: str = "") -> Role:
    """Return the role of a column from its name.

    Parameters
    ----------
    name
        Name as the file writes it, with or without units.
    prefer
        Axis of the file, since "abs" along energies differs from "abs" along
        wavenumbers. Empty while the axis is unknown.
    """
    lower = name.strip().lower().replace("\N{MICRO SIGN}", "μ")
    whole = _squash(lower)
    if not whole:
        return UNKNOWN
    if lower.startswith("-") and whole.startswith(("ln", "log")):
        whole = lower = f"minus{whole}"  # -ln(It/I0)
    if axis := axis_of(lower):
        return axis
    device = lower.rpartition(":")[2]  # XMAP12:FeKa_Sum
    if (part := _PART.fullmatch(device)) or _LINE.fullmatch(device):
        line = part or _LINE.fullmatch(device)
        about = next(filter(None, line.groups()), "") if line else ""
        return Role("fluo", 0, part is not None, about)
    if role := _in_table(whole, prefer):
        return role
    words = [w for w in re.split(r"[^a-z0-9%αβμθ]+", lower) if w]
    telling = [w for w in words if not (_NEUTRAL.fullmatch(w) or w.isdigit())]
    if len(telling) == 1 and len(words) > 1:
        if role := _in_table(telling[0], prefer):
            return role
        if part := _PART.fullmatch(telling[0]):
            return Role("fluo", 0, True, next(filter(None, part.groups()), ""))
    if numbered := re.fullmatch(r"(.*\D)\d+", whole):
        role = _in_table(numbered[1], prefer)
        if role and role.name in _REPEATED:
            return role
    if not telling:
        return next(filter(None, (_in_table(w, prefer) for w in words)), UNKNOWN)
    return _element(words) or _of_device(name, prefer)


def _element(words: list[str]) -> Role | None:
    """Return the role of a detector element's window: sdd1_roi_fe."""
    parts = [m for w in words if (m := _PART.fullmatch(w))]
    rest = {w for w in words if not (_PART.fullmatch(w) or _NEUTRAL.fullmatch(w))}
    about = rest - {"roi"}
    if len(parts) != 1 or len(about) > 1 or not about <= {*_ELEMENTS}:
        return None
    return Role("fluo", 0, True, "".join(about))


def _of_device(name: str, prefer: str) -> Role:
    """Return the role of a channel behind the name of its device: Keithley_I0.

    All words with a role have the same, and the last of them has one. Words after
    the names of its device and itself would change what it is.
    """
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.strip())
    for text in dict.fromkeys((name, parted)):
        words = [w for w in re.split(r"[^a-z0-9μ]+", text.lower()) if w]
        if role := _last(words, prefer):
            return role
    return UNKNOWN


def changes(name: str) -> bool:
    """Tell whether a word of a name makes something else of a channel."""
    return any(map(_CHANGED.fullmatch, re.split(r"[^a-z0-9]+", name.lower())))


def _last(words: list[str], prefer: str) -> Role | None:
    """Return the role of the last word that is not neutral, if no other differs."""
    while words and (_NEUTRAL.fullmatch(words[-1]) or words[-1].isdigit()):
        words.pop()
    if any(map(_CHANGED.fullmatch, words)) or not words or len(words[-1]) < _SHORTEST:
        return None
    found = [r for w in words if len(w) >= _SHORTEST and (r := _in_table(w, prefer))]
    last = _in_table(words[-1], prefer)
    if last and last.name in _OF_BEAMS and {r.name for r in found} == {last.name}:
        return Role(last.name, last.rank + BEHIND)
    return None


def axis_of(name: str) -> Role | None:
    """Return which axis a column is by its name, or None if it is no axis."""
    lower = name.strip().lower()
    whole = _squash(lower.replace("\N{MICRO SIGN}", "μ"))
    if short := _READ_OR_SET.fullmatch(lower):
        whole = short["name"]  # "Actual E"
    words = re.findall(r"[^\W_]+", lower)
    left = [w for w in words if not (READ_OR_SET.fullmatch(w) or _OF_MONO.fullmatch(w))]
    if left == ["e"] != words:
        whole = "e"  # "mono_e_rbv"
    for axis, pattern in AXES.items():
        if pattern.fullmatch(whole):
            if axis == "energy":
                rank = 2 if _SET.search(lower) else 1 if _READ.search(lower) else 0
                plain = whole in ("energy", "e", "ev", "kev") or rank
                return Role(axis, rank if plain else 1)
            return Role(axis, int(whole == "angle"))
    return None


def _squash(name: str) -> str:
    return re.sub(r"[^a-z0-9%μθαβ]+", "", name)


def _in_table(word: str, prefer: str) -> Role | None:
    found = [
        Role(role, rank)
        for role, ranks in _TABLE.items()
        for rank, pattern in enumerate(ranks)
        if pattern.fullmatch(word)
    ]
    likely = _LIKELY.get(prefer, ())
    found.sort(key=lambda r: r.name not in likely)
    return found[0] if found else None


_TABLE = {role: tuple(map(re.compile, words)) for role, words in WORDS.items()}
#: Roles that a file may have several times, with a number after the name.
_REPEATED = ("intensity", "absorbance", "transmittance", "reflectance")
#: Roles of which a name may begin with that of a device.
_OF_BEAMS = ("i0", "it", "ir", "fluo", "tey", "mu", "mu_fluo", "mu_tey", "mu_ref")
#: Words that make something else of a channel.
_CHANGED = re.compile(
    r"background|bg|bias|bkg|by|center|dark|dead|delay|der|deriv|derivative"
    r"|diff|div|err|error|filter|first|fit|flux|gain|height|icr|live|ln|log"
    r"|max|min|monitor|norm|normalized|ocr|offset|over|pos|position|pressure"
    r"|range|rate|ratio|residual|rms|second|set|setpoint|sigma|smooth|status"
    r"|std|temp|time|total|valve|width"
)
#: Fewest letters of a channel behind the name of its device.
_SHORTEST = 2
#: A name behind that of a device is less plain than the name alone.
BEHIND = 4
#: Axis -> roles of the values measured along it.
_LIKELY = {
    "energy": ("i0", "it", "ir", "fluo", "tey", "mu", "mu_fluo", "mu_ref", "mu_tey"),
    "shift": ("intensity", "absorbance", "transmittance", "reflectance"),
    "two_theta": ("intensity",),
    "q": ("intensity", "structure"),
    "r": ("pdf",),
}
