"""Columns of ``.mpr`` files: their numbers, labels in exported text, and types.

All of it was told by files that EC-Lab wrote in binary and exported as text: a number
is the label at the same place, a type the only one under which both say the same.
"""

from __future__ import annotations

#: Number -> label, lowest bit and bits in the one byte that all of these share.
FLAGS: dict[int, tuple[str, int, int]] = {
    1: ("mode", 0, 2),
    2: ("ox/red", 2, 1),
    3: ("error", 3, 1),
    21: ("control changes", 4, 1),
    31: ("Ns changes", 5, 1),
    65: ("counter inc.", 7, 1),
}

#: Number -> label and type.
KNOWN: dict[int, tuple[str, str]] = {
    4: ("time/s", "<f8"),
    5: ("control/V/mA", "<f4"),
    6: ("Ewe/V", "<f4"),
    7: ("dq/mA.h", "<f8"),
    8: ("I/mA", "<f4"),
    9: ("Ece/V", "<f4"),
    11: ("<I>/mA", "<f8"),
    13: ("(Q-Qo)/mA.h", "<f8"),
    19: ("control/V", "<f4"),
    20: ("control/mA", "<f4"),
    24: ("cycle number", "<f8"),
    32: ("freq/Hz", "<f4"),
    33: ("|Ewe|/V", "<f4"),
    34: ("|I|/A", "<f4"),
    35: ("Phase(Z)/deg", "<f4"),
    36: ("|Z|/Ohm", "<f4"),
    37: ("Re(Z)/Ohm", "<f4"),
    38: ("-Im(Z)/Ohm", "<f4"),
    39: ("I Range", "<u2"),
    70: ("P/W", "<f4"),
    74: ("|Energy|/W.h", "<f8"),
    76: ("<I>/mA", "<f4"),
    77: ("<Ewe>/V", "<f4"),
    96: ("|Ece|/V", "<f4"),
    98: ("Phase(Zce)/deg", "<f4"),
    99: ("|Zce|/Ohm", "<f4"),
    100: ("Re(Zce)/Ohm", "<f4"),
    101: ("-Im(Zce)/Ohm", "<f4"),
    123: ("Energy charge/W.h", "<f8"),
    124: ("Energy discharge/W.h", "<f8"),
    125: ("Capacitance charge/µF", "<f8"),
    126: ("Capacitance discharge/µF", "<f8"),
    131: ("Ns", "<u2"),
    169: ("Cs/µF", "<f4"),
    172: ("Cp/µF", "<f4"),
    174: ("<Ewe>/V", "<f4"),
    430: ("Phase(Zwe-ce)/deg", "<f4"),
    431: ("|Zwe-ce|/Ohm", "<f4"),
    432: ("Re(Zwe-ce)/Ohm", "<f4"),
    433: ("-Im(Zwe-ce)/Ohm", "<f4"),
    434: ("(Q-Qo)/C", "<f4"),
    435: ("dQ/C", "<f4"),
    441: ("<Ece>/V", "<f4"),
    467: ("Q charge/discharge/mA.h", "<f8"),
    468: ("half cycle", "<u4"),
    469: ("z cycle", "<u4"),
    471: ("<Ece>/V", "<f4"),
}

#: Byte from which the rows stand in the data module, by its version.
ROWS_FROM = {2: 405, 3: 406}
#: Byte to which the list of columns has room; zeros behind the last of them.
LIST_TO = 405

#: Number in the settings -> technique, as it is named in exported text.
TECHNIQUES: dict[int, str] = {
    4: "Galvanostatic Cycling with Potential Limitation",
    6: "Cyclic Voltammetry",
    11: "Open Circuit Voltage",
    24: "Chronoamperometry / Chronocoulometry",
    25: "Chronopotentiometry",
    28: "Wait",
    29: "Potentio Electrochemical Impedance Spectroscopy",
    30: "Galvano Electrochemical Impedance Spectroscopy",
    50: "IR compensation (PEIS)",
    127: "Modulo Bat",
}
