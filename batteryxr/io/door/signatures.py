"""Recognise a file's kind by its first bytes, whatever its name says."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class FileKind:
    """Describe a kind of file, recognised by its first bytes.

    Parameters
    ----------
    name
        Short name, by which a reader accepts this kind.
    words
        Description that completes "is ...".
    pattern
        Pattern that the first bytes match.
    mend
        How to get the data out of the file.
    """

    name: str
    words: str
    pattern: re.Pattern[bytes]
    mend: str = ""


def _at(pattern: bytes, offset: int = 0) -> re.Pattern[bytes]:
    return re.compile(b"(?s:.{%d})%b" % (offset, pattern))


_CYCLER = "Read it with read_cycler."
_TABLE = "Save the table as .csv or .xlsx."
_UNPACK = "Unpack it, and read what is inside."
_PICTURE = "It is a picture, not a measurement: look for the data behind it."
_RUNS = "It may run any program when it is loaded: ask for the data in another form."
_NUMBERS = "Load it in the program that wrote it, and save the numbers as text or HDF5."
_PATTERN = "Export it as .xy, .uxd, .brml or .xrdml, with the wavelength."
_SPECTRUM = "Export it as JCAMP-DX (.jdx), or as text with the names of its columns."

_EXPORT = "Export it as text, TIFF or HDF5 in the program that wrote it."
_NO_DATA = "There are no measured numbers in it."

#: Kinds that no reader takes: name, description, pattern of the first bytes, remedy.
_ELSEWHERE = (
    ("sound", "a sound file", _at(rb"RIFF.{4}WAVE|fLaC|OggS\0|ID3[\2-\4]"), _NO_DATA),
    ("video", "a video", _at(rb"RIFF.{4}AVI |\x1aE\xdf\xa3"), _PICTURE),
    ("picture", "a Photoshop picture", _at(rb"8BPS\0[\1\2]"), _PICTURE),
    ("picture", "an icon", _at(rb"\0\0[\1\2]\0[\1-\x20]\0"), _PICTURE),
    ("picture", "an OpenEXR picture", _at(rb"v/1\x01"), _PICTURE),
    ("picture", "a JPEG XL picture", _at(rb"\xff\n|\0\0\0\x0cJXL "), _PICTURE),
    ("picture", "a DjVu document", _at(rb"AT&TFORM"), _PICTURE),
    ("picture", "a Radiance picture", _at(rb"#\?RADIANCE\n"), _PICTURE),
    (
        "svg",
        "an SVG picture",
        re.compile(rb"(?s:\s*(<\?xml[^>]*>\s*)?(<!(--.{0,999}?--|DOC[^>]*)>\s*){0,9}<svg\b)"),
        _PICTURE,
    ),
    ("lzma", "an LZMA file", _at(rb"\x5d\0\0.{2}\xff{8}"), _UNPACK),
    ("lz4", "an LZ4 file", _at(rb"\x04\x22M\x18"), _UNPACK),
    ("compress", "a file of compress (.Z)", _at(rb"\x1f\x9d"), _UNPACK),
    ("root", "a ROOT file", _at(rb"root\0"), _EXPORT),
    ("dm", "a DigitalMicrograph file", _at(rb"\0\0\0\x03.{4}\0\0\0[\0\1]"), _EXPORT),
    ("dm", "a DigitalMicrograph file", _at(rb"\0\0\0\x04.{8}\0\0\0[\0\1]"), _EXPORT),
    ("ser", "a TIA series (.ser)", _at(rb"II\x97\x01"), _EXPORT),
    ("mrc", "an MRC image", _at(rb"MAP[ \0]", 208), _EXPORT),
    ("nd2", "a Nikon .nd2 file", _at(rb"\xda\xce\xbe\n"), _EXPORT),
    ("czi", "a Zeiss .czi file", _at(rb"ZISRAWFILE"), _EXPORT),
    ("lif", "a Leica .lif file", _at(rb"\x70\0\0\0.{4}\x2a"), _EXPORT),
    ("wdf", "a Renishaw .wdf file", _at(rb"WDF1"), _EXPORT),
    ("spc", "a GRAMS .spc file", _at(rb"\0K[\0-\x0e]"), _EXPORT),
    ("opus", "a Bruker OPUS file", _at(rb"\n\n\xfe\xfe"), _EXPORT),
    ("raw", "a Bruker .raw file", _at(rb"RAW(1\.01|2\0|4\.00)"), _EXPORT),
    ("rd", "a Philips .rd or .sd file", _at(rb"V[35]RD"), _EXPORT),
    ("adsc", "an ADSC image (.img)", _at(rb"\{\s*HEADER_BYTES"), _EXPORT),
    ("mar", "a mar345 image", _at(rb"\xd2\x04\0\0|\0\0\x04\xd2"), _EXPORT),
    ("nifti", "a NIfTI image", _at(rb"n[+i]1\0", 344), _EXPORT),
    ("nrrd", "an NRRD image", _at(rb"NRRD000"), _EXPORT),
    ("vtk", "a VTK file", _at(rb"# vtk DataFile"), _EXPORT),
    ("ply", "a PLY surface", _at(rb"ply\r?\nformat "), _EXPORT),
    ("tdms", "a LabVIEW TDMS file", _at(rb"TDS[mh]"), _TABLE),
    ("stata", "a Stata file", _at(rb"<stata_dta>"), _TABLE),
    ("sas", "a SAS file", _at(rb"\0{12}\xc2\xea\x81\x60"), _TABLE),
    ("spss", "an SPSS file", _at(rb"\$FL[23]"), _TABLE),
    ("avro", "an Avro table", _at(rb"Obj\x01"), _TABLE),
    ("orc", "an ORC table", _at(rb"ORC[\0-\x1f]"), _TABLE),
    ("matlab", "a MATLAB 4 file",
     _at(rb"[\0\n\x14\x1e]\0\0\0.{8}[\0\1]\0\0\0[\1-\x40]\0\0\0[A-Za-z]"), _NUMBERS),
    ("pickle", "a Python pickle",
     _at(rb"\((dp|lp)0\n|c(copy_reg|numpy[.\w]*)\n|[\]}(]q\0"), _RUNS),
    ("notebook", "a Jupyter notebook",
     _at(rb'\s*\{\s*"(cells|nbformat)"\s*:'), _NO_DATA),
    ("program", "a program",
     _at(rb"\xca\xfe\xba\xbe|\0asm|[\xce\xcf]\xfa\xed\xfe"), _NO_DATA),
    ("shortcut", "a shortcut to another file",
     _at(rb"L\0\0\0\x01\x14\x02\0|\[InternetShortcut\]"), _NO_DATA),
    ("program", "a Windows program", _at(rb"MZ[\x90P\0-\x0f][\0-\x03]"), _NO_DATA),
    ("font", "a font", _at(rb"(?:\0\x01\0\0|OTTO)\0[\x01-\x40]"), _NO_DATA),
    ("icons", "icons of a Mac", _at(rb"icns"), _NO_DATA),
    ("blender", "a Blender scene", _at(rb"BLENDER[-_]"), _NO_DATA),
    ("eeg", "signals of an EEG (.edf, .bdf)",
     _at(rb"(\xffBIOSEMI|0 {7})[^\n]{160}\d\d\.\d\d\.\d\d\d\d\.\d\d\.\d\d"), _EXPORT),
    ("asdf", "an ASDF file", _at(rb"#ASDF \d"), _EXPORT),
    ("emi", "a TIA file (.emi)", _at(rb"JK\0\x02"), _EXPORT),
    ("sxm", "a Nanonis map (.sxm)", _at(rb":NANONIS_VERSION:"), _EXPORT),
    ("nid", "a Nanosurf scan (.nid)", _at(rb"\[DataSet\]\r?\n"), _EXPORT),
    ("spe", "frames of a WinView or LightField camera (.spe)",
     re.compile(rb"(?s:.{1992}(?:\0\0\x40\x40\0{400}|.{1004}\x67\x45\x23\x01))"),
     _EXPORT),
    ("parquet", "an encrypted parquet table",
     _at(rb"PARE[\x15\x16\0-\x1f\x80-\xff]"), _TABLE),
    ("key", "an encrypted text or a key",
     _at(rb"-----BEGIN [A-Z ]+-----|age-encryption\.org"), _NO_DATA),
    ("npz", "NumPy arrays (.npz)",
     _at(rb"PK\x03\x04.{26}[^/\0]{1,99}\.npy"),
     "Frames are read with read_frames, other arrays with numpy.load."),
    ("opendocument", "an OpenDocument file",
     _at(rb"PK\x03\x04.{26}mimetypeapplication/vnd\.oasis"), _TABLE),
    ("word", "a Word or PowerPoint document",
     _at(rb"PK\x03\x04.{0,3999}?(word|ppt)/"), _TABLE),
)  # fmt: skip

#: Kinds of files; the first that matches is taken.
KINDS = (
    FileKind("png", "a PNG picture", _at(rb"\x89PNG\r\n\x1a\n"), _PICTURE),
    FileKind("jpeg", "a JPEG picture", _at(rb"\xff\xd8\xff"), _PICTURE),
    FileKind("gif", "a GIF picture", _at(rb"GIF8[79]a"), _PICTURE),
    FileKind("bmp", "a bitmap picture", _at(rb"BM.{4}\0\0\0\0"), _PICTURE),
    FileKind("webp", "a WebP picture", _at(rb"RIFF.{4}WEBP"), _PICTURE),
    FileKind("jpeg2000", "a JPEG 2000 picture", _at(rb"\0\0\0\x0cjP  "), _PICTURE),
    FileKind("pdf", "a PDF document", _at(rb"%PDF-"), _PICTURE),
    FileKind("postscript", "a PostScript document", _at(rb"%!PS-"), _PICTURE),
    FileKind(
        "raw",
        "a Bruker pattern (.raw)",
        _at(rb"RAW(1\.01|4\.00|2[\0-\x1f]| [\0-\x1f])"),
        _PATTERN,
    ),
    FileKind("raw", "a Stoe pattern (.raw)", _at(rb"RAW_1\.0\dPowdat"), _PATTERN),
    FileKind("raw", "a Rigaku pattern (.raw)", _at(rb"FI\0"), _PATTERN),
    FileKind("rd", "a Philips pattern (.rd, .sd)", _at(rb"V[35]RD"), _PATTERN),
    FileKind("wip", "a WITec project (.wip, .wid)", _at(rb"WIT_(PR|DA)"), _SPECTRUM),
    FileKind("sp", "a PerkinElmer spectrum (.sp)", _at(rb"PEPE"), _SPECTRUM),
    FileKind(
        "spa", "a Thermo spectrum (.spa)", _at(rb"Spectral (Data|Exte) File"), _SPECTRUM
    ),
    FileKind(
        "spc", "a GRAMS spectrum (.spc)", _at(rb"[\x00-\x08\x80\xc0]K"), _SPECTRUM
    ),
    FileKind(
        "gwy", "a Gwyddion file (.gwy)", _at(rb"GWY[OP]"), "Export the channel as .gsf."
    ),
    FileKind("rtf", "a document of rich text", _at(rb"\{\\rtf"), _TABLE),
    FileKind("matlab", "a MATLAB file", _at(rb"MATLAB 5\.0 MAT-file"), _NUMBERS),
    FileKind("matlab", "a MATLAB 7.3 file", _at(rb"MATLAB 7\.3 MAT-file"), _NUMBERS),
    FileKind(
        "netcdf",
        "a netCDF file",
        _at(rb"CDF[\x01\x02\x05]"),
        "Open it with xarray.open_dataset.",
    ),
    FileKind(
        "hdf4", "an HDF4 file", _at(rb"\x0e\x03\x13\x01"), "Convert it with h4toh5."
    ),
    FileKind(
        "hdf5",
        "an HDF5 file",
        _at(rb"\x89HDF\r\n\x1a\n"),
        "Read it with read_stack, read_frames, read_ptychography or read_cxi.",
    ),
    FileKind(
        "npy", "a NumPy array (.npy)", _at(rb"\x93NUMPY"), "Load it with numpy.load."
    ),
    FileKind(
        "pickle",
        "a Python pickle",
        _at(rb"\x80[\x02-\x05](\x95|[\]}(c])"),
        _RUNS,
    ),
    FileKind("parquet", "a parquet table", _at(rb"PAR1"), _CYCLER),
    FileKind("arrow", "an Arrow or Feather table", _at(rb"ARROW1|FEA1"), _TABLE),
    FileKind(
        "tiff",
        "a TIFF image",
        _at(rb"II\*\0|MM\0\*|II\+\0|MM\0\+"),
        "Read it with read_stack, read_frames or read_image.",
    ),
    FileKind("fits", "a FITS file", _at(rb"SIMPLE  ="), _NUMBERS),
    FileKind("dicom", "a DICOM image", _at(rb"DICM", 128), _NUMBERS),
    FileKind("cbf", "a CBF image", _at(rb"###CBF"), "Convert it to TIFF or HDF5."),
    FileKind(
        "edf",
        "an EDF image",
        _at(rb"\{\s*(HeaderID|EDF_)"),
        "Convert it to TIFF or HDF5.",
    ),
    FileKind("mpr", "a BioLogic .mpr file", _at(rb"BIO-LOGIC MODULAR FILE"), _CYCLER),
    FileKind("neware", "a Neware .nda file", _at(rb"NEWARE"), _CYCLER),
    FileKind(
        "access",
        "an Access database (Arbin .res)",
        _at(rb"\0\x01\0\0Standard (Jet|ACE) DB"),
        _CYCLER,
    ),
    FileKind("sqlite", "an SQLite database", _at(rb"SQLite format 3\0"), _TABLE),
    FileKind(
        "ole",
        "a compound file (.xls, .doc, .xrm)",
        _at(rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
        "Read an old .xls workbook with read_cycler, .xrm and .txrm with read_stack.",
    ),
    FileKind("origin", "an Origin project", _at(rb"CPYU?A"), _TABLE),
    *(FileKind(*each) for each in _ELSEWHERE),
    FileKind("gzip", "a gzip file", _at(rb"\x1f\x8b"), _UNPACK),
    FileKind(
        "zip",
        "a zip archive (such as .xlsx, .ndax or .npz)",
        _at(rb"PK(\x03\x04|\x05\x06|\x07\x08)"),
        "A workbook or .ndax is read by read_cycler under its own name. Unpack any "
        "other, and read what is inside.",
    ),
    FileKind("bzip2", "a bzip2 file", _at(rb"BZh[1-9]1AY&SY"), _UNPACK),
    FileKind("xz", "an xz file", _at(rb"\xfd7zXZ\0"), _UNPACK),
    FileKind("zstd", "a zstd file", _at(rb"\x28\xb5\x2f\xfd"), _UNPACK),
    FileKind("7z", "a 7z archive", _at(rb"7z\xbc\xaf\x27\x1c"), _UNPACK),
    FileKind("rar", "a RAR archive", _at(rb"Rar!\x1a\x07"), _UNPACK),
    FileKind("tar", "a tar archive", _at(rb"ustar", 257), _UNPACK),
    FileKind("program", "a program", _at(rb"\x7fELF|MZ.{58}.{0,400}PE\0\0")),
    FileKind("rdata", "an R data file", _at(rb"RDX[23]\n"), _TABLE),
    FileKind("video", "a video or picture of a phone", _at(rb".{4}ftyp"), _PICTURE),
    FileKind(
        "html",
        "a web page",
        re.compile(rb"\s*<(?i:!doctype html|html)"),
        "A download that failed often is one: fetch the file again.",
    ),
    FileKind("xml", "an XML file", re.compile(rb"(\xef\xbb\xbf)?<\?xml "), _TABLE),
    FileKind(
        "lfs",
        "a pointer of Git LFS, not the file itself",
        re.compile(rb"version https://git-lfs\."),
        "Fetch it with `git lfs pull`.",
    ),
)


_ANY = re.compile(b"|".join(b"(?:%b)" % kind.pattern.pattern for kind in KINDS))


#: Endings of makers' binaries whose first bytes no public source tells.
ENDINGS = {
    ending: FileKind("l6s", f"a LabSpec 6 file ({ending})", _at(rb"\Z.^"), _SPECTRUM)
    for ending in (".l6s", ".l6m", ".l6v")
} | {
    ending: FileKind("igor", f"an Igor file ({ending})", _at(rb"\Z.^"), _EXPORT)
    for ending in (".ibw", ".pxp", ".pxt")
}


_SCAN = (
    "It tells of a scan: pass it to read_frames as spec=, beside the frames. Its "
    "columns are read by read_series."
)
#: Kinds of text, each with the endings that tell it. Any of them may stand above a
#: table, so they are named only where no table was found.
_TEXTS = tuple(
    (FileKind(name, words, re.compile(pattern), mend), endings)
    for name, words, pattern, mend, endings in (
        ("mail", "a mail",
         rb"(?=(?s:.{0,3000}?)\nFrom:[^\n]*@|From:[^\n]*@)[A-Z][\w-]+:",
         "Save what is attached to it.", (".eml",)),
        ("cif", "a crystal structure (CIF)",
         rb"(?m)(?s:.{0,3000}?)^data_\S*\s+(?:loop_|_[a-z])",
         "batteryxr.xanes.powder_lines computes its pattern.", (".cif",)),
        ("fio", "a scan of Sardana (.fio)",
         rb"\s*!\s*(?:! *)?(?:Comments?)?\s*%c\s", _SCAN, (".fio",)),
        ("spec", "a SPEC file", rb"#F [^\n]|#S \d", _SCAN, (".spec",)),
        ("yaml", "settings (YAML)", rb"%YAML|---[ \t]*\r?\n", _NO_DATA,
         (".yaml", ".yml")),
        ("json", "JSON", rb'\s*(?:\[\s*)?\{\s*"', _NUMBERS, (".json",)),
        ("settings", "settings", rb"\Z.^", _NO_DATA, (".ini", ".cfg", ".toml")),
        ("program", "a program in text",
         rb"#!/|(?:import|from) \w[\w.]*(?: import|\r?\n| as )", _NO_DATA,
         (".py", ".sh", ".m", ".r", ".jl", ".js")),
        ("words", "a text of words", rb"\\documentclass|@[a-zA-Z]+\{|BEGIN:V", _NO_DATA,
         (".md", ".rst", ".tex", ".bib", ".vcf")),
    )
)  # fmt: skip


def kind_of_text(head: bytes, ending: str) -> FileKind | None:
    """Return the kind of text that the first bytes or the name tell, or None.

    Parameters
    ----------
    head
        First bytes of a file without a table that could be read.
    ending
        The end of its name, such as ``".txt"``.
    """
    if b"\0" in head:
        return None
    told = (kind for kind, _ in _TEXTS if kind.pattern.match(head))
    named = (kind for kind, endings in _TEXTS if ending.lower() in endings)
    return next(told, None) or next(named, None)


def kind_of(head: bytes) -> FileKind | None:
    """Return the kind of file that the first bytes match; None for text or unknown."""
    if not _ANY.match(head):
        return None
    return next(kind for kind in KINDS if kind.pattern.match(head))
