"""Citations: the methods behind a result, ready for a paper."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import xarray as xr

from batteryxr.core.checks import checked
from batteryxr.core.errors import DataError
from batteryxr.core.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Line of a history that a recorded call has written.
_CALL = re.compile(r"batteryxr (\S+): (\w+)\.(\w+)(\(.*\))$")
#: Strings, and the words that JSON and Python spell differently.
_WORDS = re.compile(r'"(?:\\.|[^"\\])*"|\b(?:null|true|false)\b')
_PYTHON = {"null": "None", "true": "True", "false": "False"}
#: Arguments left at None, and data that were passed.
_NONE = re.compile(r", \w+=None(?=[,)])")
_NONE_FIRST = re.compile(r"(?<=\()\w+=None(?:, )?")
_DATA = re.compile(r'\{"\$data": "(\w+)", "sizes": \{([^{}]*)\}\}')


class Publication(NamedTuple):
    """Hold one publication: authors, title, place and year."""

    authors: str
    title: str
    journal: str
    volume: str
    pages: str
    year: int
    doi: str = ""

    def __str__(self) -> str:
        where = " ".join(filter(None, (self.journal, self.volume)))
        where = ", ".join(filter(None, (where, self.pages)))
        link = f". https://doi.org/{self.doi}" if self.doi else ""
        return f"{self.authors.rstrip('.')}. {self.title}. {where} ({self.year}){link}"


#: Publications by key.
REFERENCES = {
    "xarray": Publication(
        "S. Hoyer, J. Hamman", "xarray: N-D labeled arrays and datasets in Python",
        "J. Open Res. Softw.", "5", "10", 2017, "10.5334/jors.148"),
    "scipy": Publication(
        "P. Virtanen et al.",
        "SciPy 1.0: fundamental algorithms for scientific computing in Python",
        "Nat. Methods", "17", "261-272", 2020, "10.1038/s41592-019-0686-2"),
    "sklearn": Publication(
        "F. Pedregosa et al.", "Scikit-learn: machine learning in Python",
        "J. Mach. Learn. Res.", "12", "2825-2830", 2011),
    "lee1999": Publication(
        "D. D. Lee, H. S. Seung",
        "Learning the parts of objects by non-negative matrix factorization",
        "Nature", "401", "788-791", 1999, "10.1038/44565"),
    "kim2011": Publication(
        "J. Kim, H. Park",
        "Fast nonnegative matrix factorization: an active-set-like method and "
        "comparisons",
        "SIAM J. Sci. Comput.", "33", "3261-3281", 2011, "10.1137/110821172"),
    "cichocki2009": Publication(
        "A. Cichocki, A.-H. Phan",
        "Fast local algorithms for large scale nonnegative matrix and tensor "
        "factorizations",
        "IEICE Trans. Fundam.", "E92-A", "708-721", 2009,
        "10.1587/transfun.E92.A.708"),
    "geddes2019": Publication(
        "H. S. Geddes, H. Blade, J. F. McCabe, L. P. Hughes, A. L. Goodwin",
        "Structural characterisation of amorphous solid dispersions via metropolis "
        "matrix factorisation of pair distribution function data",
        "Chem. Commun.", "55", "13346", 2019),
    "hua2021": Publication(
        "X. Hua, P. K. Allan, H. S. Geddes, E. Castillo-Martínez, P. A. Chater, "
        "T. S. Dean, A. Minelli, P. G. Bruce, A. L. Goodwin",
        "Lithiation phase behaviors of metal oxide anodes and extra capacities",
        "Cell Rep. Phys. Sci.", "2", "100543", 2021),
    "chapman2015": Publication(
        "K. W. Chapman, S. H. Lapidus, P. J. Chupas",
        "Applications of principal component analysis to pair distribution function "
        "data",
        "J. Appl. Cryst.", "48", "1619", 2015),
    "farrow2007": Publication(
        "C. L. Farrow, P. Juhas, J. W. Liu, D. Bryndin, E. S. Božin, J. Bloch, "
        "T. Proffen, S. J. L. Billinge",
        "PDFfit2 and PDFgui: computer programs for studying nanostructure in crystals",
        "J. Phys.: Condens. Matter", "19", "335219", 2007,
        "10.1088/0953-8984/19/33/335219"),
    "weppner1977": Publication(
        "W. Weppner, R. A. Huggins",
        "Determination of the kinetic parameters of mixed-conducting electrodes and "
        "application to the system Li3Sb",
        "J. Electrochem. Soc.", "124", "1569-1578", 1977, "10.1149/1.2133112"),
    "chien2023": Publication(
        "Y.-C. Chien, H. Liu, A. S. Menon, W. R. Brant, D. Brandell, M. J. Lacey",
        "Rapid determination of solid-state diffusion coefficients in Li-based "
        "batteries via intermittent current interruption method",
        "Nat. Commun.", "14", "2289", 2023, "10.1038/s41467-023-37989-6"),
    "boukamp1995": Publication(
        "B. A. Boukamp",
        "A linear Kronig-Kramers transform test for immittance data validation",
        "J. Electrochem. Soc.", "142", "1885-1894", 1995, "10.1149/1.2044210"),
    "schoenleber2014": Publication(
        "M. Schönleber, D. Klotz, E. Ivers-Tiffée",
        "A method for improving the robustness of linear Kramers-Kronig validity tests",
        "Electrochim. Acta", "131", "20-27", 2014, "10.1016/j.electacta.2014.01.034"),
    "wan2015": Publication(
        "T. H. Wan, M. Saccoccio, C. Chen, F. Ciucci",
        "Influence of the discretization methods on the distribution of relaxation "
        "times deconvolution: implementing radial basis functions with DRTtools",
        "Electrochim. Acta", "184", "483-499", 2015,
        "10.1016/j.electacta.2015.09.097"),
    "dubarry2012": Publication(
        "M. Dubarry, C. Truchot, B. Y. Liaw",
        "Synthesize battery degradation modes via a diagnostic and prognostic model",
        "J. Power Sources", "219", "204-216", 2012, "10.1016/j.jpowsour.2012.07.016"),
    "bloom2005": Publication(
        "I. Bloom, A. N. Jansen, D. P. Abraham, J. Knuth, S. A. Jones, "
        "V. S. Battaglia, G. L. Henriksen",
        "Differential voltage analyses of high-power, lithium-ion cells",
        "J. Power Sources", "139", "295-303", 2005, "10.1016/j.jpowsour.2004.07.021"),
    "lee2014": Publication(
        "J. Lee, A. Urban, X. Li, D. Su, G. Hautier, G. Ceder",
        "Unlocking the potential of cation-disordered oxides for rechargeable lithium "
        "batteries",
        "Science", "343", "519-522", 2014, "10.1126/science.1246432"),
    "ravel2005": Publication(
        "B. Ravel, M. Newville",
        "ATHENA, ARTEMIS, HEPHAESTUS: data analysis for X-ray absorption spectroscopy "
        "using IFEFFIT",
        "J. Synchrotron Rad.", "12", "537-541", 2005, "10.1107/S0909049505012719"),
    "uematsu2023": Publication(
        "H. Uematsu, N. Ishiguro, M. Abe, S. Takazawa, J. Kang, E. Hosono, "
        "N. D. Nguyen, H. C. Dam, M. Okubo, Y. Takahashi et al.",
        "X-ray spectroscopic ptychography of Li-rich disordered rock-salt oxide "
        "particles",
        "Phys. Chem. Chem. Phys.", "25", "3867", 2023),
    "arthur2007": Publication(
        "D. Arthur, S. Vassilvitskii", "k-means++: the advantages of careful seeding",
        "Proc. 18th ACM-SIAM Symp. Discrete Algorithms", "", "1027-1035", 2007),
    "guizar2008": Publication(
        "M. Guizar-Sicairos, S. T. Thurman, J. R. Fienup",
        "Efficient subpixel image registration algorithms",
        "Opt. Lett.", "33", "156-158", 2008, "10.1364/OL.33.000156"),
    "whitaker2018": Publication(
        "D. A. Whitaker, K. Hayes", "A simple algorithm for despiking Raman spectra",
        "Chemom. Intell. Lab. Syst.", "179", "82-84", 2018,
        "10.1016/j.chemolab.2018.06.009"),
    "eilers2003": Publication(
        "P. H. C. Eilers", "A perfect smoother",
        "Anal. Chem.", "75", "3631-3636", 2003, "10.1021/ac034173t"),
    "savitzky1964": Publication(
        "A. Savitzky, M. J. E. Golay",
        "Smoothing and differentiation of data by simplified least squares procedures",
        "Anal. Chem.", "36", "1627-1639", 1964, "10.1021/ac60214a047"),
    "pawley1981": Publication(
        "G. S. Pawley", "Unit-cell refinement from powder diffraction scans",
        "J. Appl. Cryst.", "14", "357-361", 1981, "10.1107/S0021889881009618"),
    "patterson1939": Publication(
        "A. L. Patterson", "The Scherrer formula for X-ray particle size determination",
        "Phys. Rev.", "56", "978-982", 1939, "10.1103/PhysRev.56.978"),
    "williamson1953": Publication(
        "G. K. Williamson, W. H. Hall",
        "X-ray line broadening from filed aluminium and wolfram",
        "Acta Metall.", "1", "22-31", 1953, "10.1016/0001-6160(53)90006-6"),
    "fienup1982": Publication(
        "J. R. Fienup", "Phase retrieval algorithms: a comparison",
        "Appl. Opt.", "21", "2758-2769", 1982, "10.1364/AO.21.002758"),
    "marchesini2003": Publication(
        "S. Marchesini, H. He, H. N. Chapman, S. P. Hau-Riege, A. Noy, M. R. Howells, "
        "U. Weierstall, J. C. H. Spence",
        "X-ray image reconstruction from a diffraction pattern alone",
        "Phys. Rev. B", "68", "140101", 2003, "10.1103/PhysRevB.68.140101"),
    "clark2012": Publication(
        "J. N. Clark, X. Huang, R. Harder, I. K. Robinson",
        "High-resolution three-dimensional partially coherent diffraction imaging",
        "Nat. Commun.", "3", "993", 2012, "10.1038/ncomms1994"),
    "chan2021": Publication(
        "H. Chan et al.",
        "Rapid 3D nanoscale coherent imaging via physics-aware deep learning",
        "Appl. Phys. Rev.", "8", "021407", 2021, "10.1063/5.0031486"),
    "chapman2006": Publication(
        "H. N. Chapman et al.",
        "High-resolution ab initio three-dimensional x-ray diffraction microscopy",
        "J. Opt. Soc. Am. A", "23", "1179-1200", 2006, "10.1364/JOSAA.23.001179"),
    "vanheel2005": Publication(
        "M. van Heel, M. Schatz", "Fourier shell correlation threshold criteria",
        "J. Struct. Biol.", "151", "250-262", 2005, "10.1016/j.jsb.2005.05.009"),
    "odstrcil2018": Publication(
        "M. Odstrčil, A. Menzel, M. Guizar-Sicairos",
        "Iterative least-squares solver for generalized maximum-likelihood "
        "ptychography",
        "Opt. Express", "26", "3108-3123", 2018, "10.1364/OE.26.003108"),
    "maiden2009": Publication(
        "A. M. Maiden, J. M. Rodenburg",
        "An improved ptychographical phase retrieval algorithm for diffractive imaging",
        "Ultramicroscopy", "109", "1256-1262", 2009, "10.1016/j.ultramic.2009.05.012"),
    "maiden2017": Publication(
        "A. Maiden, D. Johnson, P. Li",
        "Further improvements to the ptychographical iterative engine",
        "Optica", "4", "736-745", 2017, "10.1364/OPTICA.4.000736"),
    "thibault2008": Publication(
        "P. Thibault, M. Dierolf, A. Menzel, O. Bunk, C. David, F. Pfeiffer",
        "High-resolution scanning x-ray diffraction microscopy",
        "Science", "321", "379-382", 2008, "10.1126/science.1158573"),
    "luke2005": Publication(
        "D. R. Luke",
        "Relaxed averaged alternating reflections for diffraction imaging",
        "Inverse Probl.", "21", "37-50", 2005, "10.1088/0266-5611/21/1/004"),
    "hirose2017": Publication(
        "M. Hirose, K. Shimomura, N. Burdet, Y. Takahashi",
        "Use of Kramers-Kronig relation in phase retrieval calculation in X-ray "
        "spectro-ptychography",
        "Opt. Express", "25", "8593-8603", 2017, "10.1364/OE.25.008593"),
    "thibault2013": Publication(
        "P. Thibault, A. Menzel",
        "Reconstructing state mixtures from diffraction measurements",
        "Nature", "494", "68-71", 2013, "10.1038/nature11806"),
}  # fmt: skip

_NMF = ("lee1999", "kim2011", "cichocki2009")
#: Publications behind a call, by its name. "name(word)" applies where the arguments
#: match the word, a regular expression.
SOURCES: dict[str, tuple[str, ...]] = {
    "nmf.fit": _NMF,
    "nmf.fit_stretched": _NMF,
    "nmf.model_order": _NMF,
    "nmf.metropolis": (*_NMF, "geddes2019", "hua2021"),
    "nmf.bands": (*_NMF, "hua2021"),
    "nmf.pca": ("chapman2015",),
    "nmf.identify": ("farrow2007",),
    "nmf.refine_along": ("farrow2007",),
    "echem.gitt": ("weppner1977",),
    "echem.pulse_fit": ("weppner1977",),
    "echem.interruptions": ("chien2023",),
    "echem.kramers_kronig": ("boukamp1995", "schoenleber2014"),
    "echem.drt": ("wan2015",),
    "echem.degradation_modes": ("dubarry2012",),
    "echem.dvdq": ("bloom2005",),
    "echem.percolation": ("lee2014",),
    "xanes.normalise": ("ravel2005",),
    "xanes.lcf": ("ravel2005",),
    "xanes.lcf_subsets": ("ravel2005",),
    "xanes.fit_edge": ("uematsu2023",),
    "xanes.fit_edge_shared": ("uematsu2023",),
    "xanes.effective_electrons": ("uematsu2023",),
    "xanes.cluster": ("arthur2007", "sklearn"),
    "xanes.register": ("guizar2008",),
    "xanes.despike": ("whitaker2018",),
    'xanes.smooth("whittaker")': ("eilers2003",),
    'xanes.smooth("savitzky_golay")': ("savitzky1964",),
    "xanes.fit_pattern": ("pawley1981",),
    'xanes.crystallite_size("scherrer")': ("patterson1939",),
    'xanes.crystallite_size("williamson_hall")': ("williamson1953",),
    "xanes.kramers_kronig_misfit": ("hirose2017",),
    "cdi.retrieve": ("fienup1982", "marchesini2003"),
    "cdi.retrieve(Coherence)": ("clark2012",),
    "cdi.retrieve_learned": ("chan2021",),
    "cdi.prtf": ("chapman2006",),
    "cdi.resolution": ("chapman2006", "vanheel2005"),
    "cdi.frc": ("vanheel2005",),
    "cdi.fsc": ("vanheel2005",),
    "cdi.align": ("guizar2008",),
    **{
        f"cdi.{method}({engine})": works
        for method in ("ptycho", "ptycho_energies")
        for engine, works in {
            "LSQML": ("odstrcil2018",),
            "EPIE": ("maiden2009",),
            "RPIE": ("maiden2017",),
            "DM": ("thibault2008",),
            "RAAR": ("luke2005",),
            "KramersKronig": ("hirose2017",),
            "n_modes=[2-9]": ("thibault2013",),
        }.items()
    },
}
_OURS = Publication(
    "The batteryxr developers",
    f"batteryxr {__version__}: battery characterisation on xarray",
    "software", "", "", 2026,
)  # fmt: skip


@dataclass(frozen=True)
class Citation:
    """Tell how a result was made, and which works to cite; prints as methods text.

    Parameters
    ----------
    steps
        The calls in order, as they can be typed.
    references
        Works to cite, by key.
    """

    steps: tuple[str, ...]
    references: dict[str, Publication]

    def __str__(self) -> str:
        numbers = {key: n for n, key in enumerate(self.references, 1)}
        lines = [
            f"Data were analysed with batteryxr {__version__} [1], built on xarray [2] "
            "and SciPy [3]."
        ]
        lines += [
            f"{n}. {step}{_cited(step, numbers)}"
            for n, step in enumerate(self.steps, 1)
        ]
        lines += ["", "References"]
        lines += [f"[{numbers[k]}] {work}" for k, work in self.references.items()]
        return "\n".join(lines)

    __repr__ = __str__

    @property
    def bibtex(self) -> str:
        """Return the works as BibTeX entries."""
        return "\n\n".join(_entry(key, work) for key, work in self.references.items())


@checked
def cite(result: xr.DataArray | xr.Dataset | xr.DataTree) -> Citation:
    """Return how a result was made, and which works to cite for it.

    Parameters
    ----------
    result
        A result of batteryxr, also one read from a store. A tree is cited as a whole.

    Returns
    -------
    Citation
        Prints as methods text with numbered references; ``.bibtex`` holds them for a
        manuscript.

    Raises
    ------
    DataError
        If `result` records no call of batteryxr.

    Notes
    -----
    Steps come from the ``history`` of the result. Joined inputs, such as a second data
    set, have their own history: cite them as well.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> record = cell["echem"].to_dataset()
    >>> halves = record.echem.half_cycles()
    >>> batteryxr.cite(halves).references["xarray"].year
    2017
    """
    calls = list(dict.fromkeys(_calls(result)))
    if not calls:
        raise DataError(
            "cite",
            "no call of batteryxr is noted in the history of this result",
            "Ask a result of a method, such as record.echem.cycles().",
        )
    keys = dict.fromkeys(("batteryxr", "xarray", "scipy"))
    for call in calls:
        keys |= dict.fromkeys(_sources(call))
    works = {key: REFERENCES.get(key, _OURS) for key in keys}
    return Citation(tuple(calls), works)


def _calls(result: xr.DataArray | xr.Dataset | xr.DataTree) -> Iterator[str]:
    """Yield the calls in a result's history, in readable form."""
    if isinstance(result, xr.DataTree):
        for node in result.subtree:
            yield from _calls(node.to_dataset())
        return
    for line in str(result.attrs.get("history", "")).splitlines():
        if found := _CALL.search(line):
            _, home, method, arguments = found.groups()
            yield f"{home}.{method}{_typed(arguments)}"


def _typed(arguments: str) -> str:
    """Return arguments in Python's spelling, without None and with data by name."""
    text = _DATA.sub(lambda data: f"{data[1]}({data[2]})".replace('"', ""), arguments)
    text = _WORDS.sub(lambda word: _PYTHON.get(word[0], word[0]), text)
    return _NONE_FIRST.sub("", _NONE.sub("", text))


def _sources(step: str) -> list[str]:
    """Return the keys of the publications behind a step."""
    name, _, arguments = step.partition("(")
    keys: list[str] = []
    for source, works in SOURCES.items():
        method, _, word = source.rstrip(")").partition("(")
        if method == name and (not word or re.search(word, arguments)):
            keys += works
    return keys


def _cited(step: str, numbers: dict[str, int]) -> str:
    found = sorted(numbers[key] for key in _sources(step))
    return f" [{', '.join(map(str, found))}]" if found else ""


def _entry(key: str, work: Publication) -> str:
    kind = "software" if work.journal == "software" else "article"
    fields = {
        "author": " and ".join(work.authors.removesuffix(" et al.").split(", "))
        + (" and others" if work.authors.endswith("et al.") else ""),
        "title": f"{{{work.title}}}",
        "journal": "" if kind == "software" else work.journal,
        "volume": work.volume,
        "pages": work.pages.replace("-", "--"),
        "year": str(work.year),
        "doi": work.doi,
    }
    lines = [f"  {n} = {{{value}}}," for n, value in fields.items() if value]
    return "\n".join([f"@{kind}{{{key},", *lines, "}"])
