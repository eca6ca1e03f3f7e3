# ruff: noqa: E501
"""Writes one known spectrum as many beamlines, instruments and programs do."""

from __future__ import annotations

from math import erf
from typing import NamedTuple

import numpy as np

E = np.round(np.arange(7050.0, 7190.0, 1.0), 2)
MU = np.round(0.2 + np.array([0.5 * (1 + erf((e - 7120) / 3)) for e in E]), 6)
I0 = np.round(2e5 * (1 - (E - 7050) / 2000), 1)
IT = I0 * np.exp(-MU)
IR = IT * np.exp(-0.5 * MU)
FL = np.round(0.01 * MU * I0, 6)
S = np.round(np.arange(200.0, 1800.0, 4.0), 2)
RAMAN = np.round(100 + 900 / (1 + ((S - 1350) / 40) ** 2) + S / 50, 3)
TT = np.round(np.arange(10.0, 60.0, 0.05), 4)
XRD = np.round(50 + 3000 * np.exp(-(((TT - 36.5) / 0.1) ** 2)) + 200 / TT)


class Dialect(NamedTuple):
    """A file, and what is right."""

    name: str
    text: str
    axis: np.ndarray
    values: np.ndarray
    quantity: str = "absorption"
    encoding: str = "utf-8"
    tolerance: float = 1e-6
    warns: bool = False


def rows(*columns: np.ndarray, sep: str = " ", form: str = "%.10g") -> str:
    """Return columns as lines."""
    return "".join(
        sep.join(form % v for v in row) + "\n" for row in zip(*columns, strict=True)
    )


T = E * 0 + 1.0


def beamlines() -> dict[str, Dialect]:
    """Return absorption as beamlines write it."""

    def of(name: str, text: str, values: np.ndarray = MU, **more: object) -> Dialect:
        return Dialect(name, text, E, values, **more)  # type: ignore[arg-type]

    fl = FL / I0
    xdi = "# XDI/1.0 GSE/1.0\n"
    found = {
        "APS 13-ID GSECARS": of(
            "a.001",
            "# XDI/1.0 Epics StepScan File /2.0\n"
            "# Column.1: energy_readback eV || 13IDE:En:Energy.VAL\n"
            "# Column.2: TSCALER counts || 13IDE:S1.TP\n# Column.3: i0 || 13IDE:S1.S2\n"
            "# Column.4: i1 || 13IDE:S1.S3\n# Column.5: i2 || 13IDE:S1.S4\n"
            "# Element.symbol: Fe\n# ///\n# None\n#-----\n"
            "# energy_readback TSCALER i0 i1 i2\n" + rows(E, T, I0, IT, IR),
        ),
        "APS MRCAT": of(
            "fe.0001",
            "# MRCAT_XAFS V1.2\n# 10-BM beamline  6/21/2019 10:13:11\n# -----\n"
            "# Energy  Io  It  Iref\n" + rows(E, I0, IT, IR),
        ),
        "APS 20-BM LabVIEW": of(
            "fe.0002",
            "# 1-D Scan File created by LabVIEW Control Panel   06/12/13  20:30:31\n"
            "# Column Headings:\n# Mono Energy (eV)\tScaler preset time\tI0\tIt\tIref\n"
            + rows(E, T, I0, IT, IR, sep="\t"),
        ),
        "APS 20-BM, names parted by stars": of(
            "fe.0003",
            "# Comments: in situ\n# -----\n# Mono Energy * Scaler preset time * I0 * It\n"
            + rows(E, T, I0, IT),
        ),
        "Australian Synchrotron, a column a line": of(
            "fe.asc",
            "# Column   Description\n#   1      mono:Energy setpoint (eV)\n#   2      I0\n"
            "#   3      I1\n#   4      Count time (s)\n# Data\n" + rows(E, I0, IT, T),
        ),
        "ALS 6.3.1, clock first": of(
            "fe.txt",
            "Beamline 6.3.1.2\nTime of Day\tMono Energy\tIzero\tI1\n"
            + "".join(
                f"10:{i // 60:02d}:{i % 60:02d}\t{row}"
                for i, row in enumerate(rows(E, I0, IT, sep="\t").splitlines(True))
            ),
        ),
        "NSLS-II TES, elements in counts": of(
            "fe.xdi",
            "# XDI/1.0\n# Column.1: energy eV\n# Column.2: I0 counts\n"
            "# Column.3: fluor_ch1 counts\n# Column.4: fluor_ch2 counts\n#----\n"
            + rows(E, I0, FL / 4, FL * 3 / 4),
            fl,
        ),
        "minus logarithms": of(
            "fe.dat", "# energy  -ln(I1/I0)  -ln(I2/I1)\n" + rows(E, MU, MU / 2)
        ),
        "FEFF": of(
            "xmu.dat",
            "# FEFF 8.4\n#  omega    e    k    mu    mu0     chi     @#\n"
            + rows(E, E - 7120, T, MU, MU * 0.9, MU * 0.1),
        ),
        "columns parted by bars": of(
            "fe.dat",
            "# Energy (eV) | I_0 (A) | I_TEY (A)\n" + rows(E, I0, FL, sep=" | "),
            fl,
        ),
        "APS 2-ID-E": of(
            "fe.dat",
            "# energy(keV)  US_IC  DS_IC\n" + rows(E / 1000, I0, IT),
        ),
        "SLS SuperXAS, averaged": of(
            "fe.dat", "#energy\ttransmission_mu\treference_mu\n" + rows(E, MU, MU / 2)
        ),
        "APS 12-BM SPEC": of(
            "scan.dat",
            "#F scan\n#E 1234\n#D Tue Jul 26 23:01:58 2022\n\n#S 1  zapscan Energy\n"
            "#D Tue Jul 26 23:01:58 2022\n#N 6\n"
            "#L Energy  Epoch  Seconds  Monitor  I0  I1\n" + rows(E, T, T, T, I0, IT),
        ),
        "NSLS-II BMM": of(
            "fe.xdi",
            xdi
            + "".join(
                f"# Column.{i}: {n}\n"
                for i, n in enumerate(
                    (
                        "energy eV",
                        "requested_energy eV",
                        "measurement_time seconds",
                        "xmu",
                        "i0 nA",
                        "it nA",
                        "ir nA",
                    ),
                    1,
                )
            )
            + "# ///\n# note\n#---\n# energy requested_energy measurement_time xmu i0 it ir\n"
            + rows(E, E, T, MU, I0, IT, IR),
        ),
        "NSLS-II ISS": of(
            "fe.dat",
            "# Facility: NSLS-II\n# Beamline: ISS (8-ID)\n# Scan.start_time: 01/02/2020\n#\n"
            "# energy\ti0\tit\tir\tiff\taux1\n" + rows(E, I0, IT, IR, FL, T, sep="\t"),
            warns=True,
        ),
        "NSLS-II QAS, time first": of(
            "fe.dat",
            "# Beamline: QAS\n# timestamp energy i0 it ir\n"
            + rows(E - 7000, E, I0, IT, IR),
        ),
        "NSLS XDAC": of(
            "fe.000",
            'XDAC V1.3  Datafile V1\n"fe.000" created on 4/8/11 at 6:42:59 PM on X-11A\n'
            "Diffraction element= Si (111). Ring energy= 2.80 GeV\nE0= 7112.00\n"
            "NUM_REGIONS= 1\n----------\nEnergy   I0   It   Ir\n" + rows(E, I0, IT, IR),
        ),
        "SSRL collector": of(
            "fe_001.A",
            "SSRL - EXAFS Data Collector 2.0\nTue Jul 26 23:01:58 2022\nPTS: 140 COLS: 6\n"
            "Si(220)\nWeights:\n1 1 1 1 1 1\nOffsets:\n0 0 0 0 0 0\nData:\n"
            "Real time clock\nRequested energy\nAchieved energy\nI0\nI1\nI2\n\n"
            + rows(T * np.arange(E.size), E + 0.01, E, I0, IT, IR),
        ),
        "ESRF zap": of(
            "fe.spec",
            "#F /data/fe\n#S 3 zapline mono 7.05 7.19\n#N 3\n#L ZapEnergy  arr_I0  arr_It\n"
            + rows(E / 1000, I0, IT),
        ),
        "ESRF BLISS columns": of(
            "fe.dat",
            "# energy_enc mu_trans mu_ref I0 I1 I2\n"
            + rows(E / 1000, MU, MU / 2, I0, IT, IR),
        ),
        "SOLEIL SAMBA": of(
            "fe.txt",
            "# SAMBA\n#Energy\tTheta\tXMU\tFLUO\tREF\tFLUO_RAW\tI0\tI1\tI2\n"
            + rows(E, T * 12, MU, fl, MU / 2, FL, I0, IT, IR, sep="\t"),
            warns=True,
        ),
        "Diamond B18": of(
            "1234_1.dat",
            "# Diamond Light Source\n# Date: Mon, 2 Mar 2020 12:00:00\n#\n"
            "# qexafs_energy\tI0\tIt\tIref\tlnI0It\tlnItIref\n"
            + rows(E, I0, IT, IR, MU, 0.5 * MU, sep="\t"),
        ),
        "Diamond I20": of(
            "1235_1.dat",
            "# Diamond Light Source\n# bragg1WithOffset\tTime\tI0\tIt\tIref\tlnI0It\n"
            + rows(E, T, I0, IT, IR, MU, sep="\t"),
        ),
        "PETRA P64 fio": of(
            "fe_0001.fio",
            "!\n! Comments\n%c\nfe foil \n!\n! Parameter\n%p\ngain = 1e8\n!\n! Data\n%d\n"
            " Col 1 ENERGY DOUBLE\n Col 2 exp_i0 DOUBLE\n Col 3 exp_i1 DOUBLE\n"
            " Col 4 exp_i2 DOUBLE\n" + rows(E, I0, IT, IR),
        ),
        "PETRA P65": of(
            "fe_p65.dat",
            "# PETRA III P65\n# energy/eV\ttime/s\ti0\tit\tir\n"
            + rows(E, T, I0, IT, IR, sep="\t"),
        ),
        "CLS Acquaman": of(
            "fe.dat",
            "# (1) Energy eV (readback)\n# (2) I0Detector\n# (3) I1Detector\n"
            + rows(E, I0, IT),
        ),
        "ALS 10.3.2": of(
            "fe_avg.txt",
            "BL 10.3.2\nMono Energy (eV)\tI0 (counts)\tFluorescence (counts)\n"
            + rows(E, I0, FL, sep="\t"),
            fl,
        ),
        "Photon Factory": of(
            "fe.dat",
            "  9809     KEK-PF   BL12C\n sample   12.05.14 10:11 - 12.05.14 10:25\n"
            " Fe foil\n Ring :  2.5 GeV  449.6 mA -  449.1 mA\n"
            " Mono :  SI(111)       D=  3.13551 A    Initial angle= 16.30000 deg\n"
            " BL12C   Transmission( 2)   Repetition=  1     Points=  140\n"
            " Param file : A.PRM     energy axis(2)    Block =   1\n \n"
            " Block      Init-Eng final-Eng     Step/eV     Time/s       Num\n"
            "     1       7050.00   7189.00        1.00       1.00       140\n"
            " Ortec(-1)     NDCH =  3\n   Angle(c)  Angle(o)      time/s         2         3\n"
            "      Mode         0         0         1         2\n"
            "    Offset         0         0   100.000   100.000\n"
            + rows(
                *[np.rad2deg(np.arcsin(12398.419843320026 / (2 * 3.13551 * E)))] * 2,
                T,
                I0,
                IT,
            ),
            tolerance=1e-5,
        ),
        "SPring-8, Si 311": of(
            "fe.311",
            "  9809     SPring-8 BL01B1\n x\n Mono :  SI(311)       D=  1.63747 A    Initial angle= 32.5 deg\n"
            "   Angle(c)  Angle(o)      time/s         2         3\n"
            "       Mode         0         0         0         1         3\n"
            "     Offset         0         0         0       0.0       0.0\n"
            + rows(
                *[np.rad2deg(np.arcsin(12398.419843320026 / (2 * 1.63747 * E)))] * 2,
                T,
                I0,
                FL,
            ),
            fl,
            tolerance=1e-5,
        ),
        "XDI by angle": of(
            "fe_angle.xdi",
            "# XDI/1.0\n# Column.1: angle degrees\n# Column.2: i0\n# Column.3: itrans\n"
            "# Mono.name: Si 111\n# Mono.d_spacing: 3.13555\n# ///\n#---\n"
            + rows(
                np.rad2deg(np.arcsin(12398.419843320026 / (2 * 3.13555 * E))), I0, IT
            ),
            tolerance=1e-5,
        ),
        "GSECARS fluorescence, four elements": of(
            "mca.xdi",
            "# XDI/1.0\n# Column.1: energy eV\n# Column.2: i0\n"
            + "".join(f"# Column.{k + 3}: fe_ka_mca{k + 1}\n" for k in range(4))
            + "# ///\n#---\n"
            + rows(E, I0, FL / 4, FL / 4, FL / 8, 3 * FL / 8),
            fl,
        ),
        "soft X-rays, electron yield": of(
            "ti.dat", "# energy I0 TEY\n" + rows(E, I0, FL), fl
        ),
        "Athena xmu": of(
            "fe.xmu",
            "# XDI/1.0 Demeter/0.9.26\n# Column.1: energy eV\n# Column.2: xmu\n"
            "# Column.3: bkg\n# Column.4: pre_edge\n# Column.5: post_edge\n# ///\n#---\n"
            "#  e xmu bkg pre_edge post_edge\n" + rows(E, MU, MU, MU * 0, MU * 0 + 1),
        ),
        "Athena nor of one": of(
            "fe.nor",
            "# Athena data file\n#---\n#  energy norm bkg_norm der_norm\n"
            + rows(E, MU, MU * 2, MU * 3),
        ),
        "German columns": of(
            "fe.csv",
            "Energie [eV];I0;It\n" + rows(E, I0, IT, sep=";").replace(".", ","),
            encoding="latin-1",
        ),
        "CSV with a row of units": of(
            "fe.csv", "Energy,Absorption\neV,a.u.\n" + rows(E, MU, sep=",")
        ),
        "CSV of pandas": of(
            "fe.csv", ",energy,i0,it\n" + rows(np.arange(E.size), E, I0, IT, sep=",")
        ),
        "Larch": of(
            "fe.dat",
            "# larch\n#---\n# energy   mu   norm   flat\n" + rows(E, MU, MU, MU),
        ),
        "keV in the title": of("fe.dat", "# Energy (keV)  mu\n" + rows(E / 1000, MU)),
        "UTF-16 from LabVIEW": of(
            "fe.txt",
            "Energy\tI0\tI1\r\n" + rows(E, I0, IT, sep="\t").replace("\n", "\r\n"),
            encoding="utf-16",
        ),
        "falling": of("fe.dat", "# e mu\n" + rows(E[::-1], MU[::-1])),
        "ln in the title": of(
            "fe.dat", "# energy i0 it ln(i0/it)\n" + rows(E, I0, IT, MU)
        ),
    }
    angle = np.rad2deg(np.arcsin(12398.419843320026 / (2 * 3.13551 * E)))
    at_12bm = "Mono Energy (alt) *|Scaler preset time *|I0|It|Iref|XMAP12B:FeKa_Sum"
    found |= {
        "ESRF ID26": of(
            "fe.dat",
            "#F f\n#S 1 fscan\n#N 4\n#L arr_hdh_ene  arr_I02  arr_det_dtc  arr_seconds\n"
            + rows(E / 1000, I0, FL, T),
            fl,
        ),
        "ALBA CLAESS": of(
            "fe.dat",
            "#S 1 energy scan\n#L energy_mono_ct  a_i0_1  a_i1_1  a_i2_1\n"
            + rows(E, I0, IT, IR),
        ),
        "ion chambers by number": of(
            "fe.csv",
            "index,mono energy (eV),ion chamber 0,ion chamber 1\n"
            + rows(np.arange(E.size), E, I0, IT, sep=","),
        ),
        "E_MONO and IC0": of(
            "fe.dat", "E_MONO\tIC0\tIC1\tIC2\n" + rows(E, I0, IT, IR, sep="\t")
        ),
        "units in brackets below the titles": of(
            "fe.dat",
            "Energy\tI0\tI1\n[eV]\t[cps]\t[cps]\n" + rows(E, I0, IT, sep="\t"),
        ),
        "one bracket after a space": of(
            "fe.dat", "# energy (eV) i0 it\n" + rows(E, I0, IT)
        ),
        "twice the spacing": of(
            "fe.dat",
            "# 2d = 6.27102 A\n# angle (deg) i0 it\n" + rows(angle, I0, IT),
            tolerance=1e-5,
        ),
        "German angles": of(
            "fe.dat",
            "# Monochromator: Si(111) d=3.13551 \u00c5\n# Winkel [\u00b0]\ti0\tit\n"
            + rows(angle, I0, IT, sep="\t"),
            encoding="latin-1",
            tolerance=1e-5,
        ),
        "APS 20-BM, equally wide titles": of(
            "fe.0003",
            "# 1-D Scan File created by LabVIEW Control Panel  2/18/2012  5:21:44 PM\n"
            "# Scan config:\n#      E0: 7112.0 eV   140 points\n# Column Headings:\n#"
            + "".join(f"{name:<21s}" for name in at_12bm.split("|"))
            + "\n"
            + rows(E, T, I0, IT, IR, FL, sep="  "),
            warns=True,
        ),
        "APS 20-BM, a numbered list": of(
            "fe.0004",
            "# 1-D Scan File created by LabVIEW Control Panel  2/18/2012  5:21:44 PM\n"
            "# Here is a readable list of column headings:\n"
            "#  1) Mono Energy (alt) *    3) I0\n#  2) Scaler preset time *    4) It\n"
            "#\n# Column Headings:\n#Mono Energy (alt) * Scaler preset time * I0 It\n"
            + rows(E, T, I0, IT, sep="  "),
        ),
        "APS 13-ID of 2008": of(
            "fe.002",
            "; Epics Scan 1 dimensional scan\n;scan began at Nov 05, 2008 11:22:33.00\n"
            "; column labels: \n;  P1 = {Monochromator Energy (eV)} --> {13IDA:E.VAL}\n"
            ";  D1 = {scaler count time} --> {13IDC:scaler1.T}\n"
            ";  D2 = {i0} --> {13IDC:scaler1.S2}\n;  D3 = {i1} --> {13IDC:scaler1.S3}\n"
            ";---------\n;  P1   D1   D2   D3 \n" + rows(E, T, I0, IT, sep="  "),
        ),
        "ESRF BM23": of(
            "fe.dat",
            "#F /data/fe.dat\n#D Fri Mar 14 10:00:00 2014\n#C BM23  E.S.R.F.\n\n"
            "#S 1 fe_foil\n#D Fri Mar 14 10:00:00 2014\n#N 5\n#L E_kev_  time  I0  I1  I2\n"
            + rows(E / 1000, T, I0, IT, IR),
        ),
        "ESRF SNBL, an angle before the energy": of(
            "fe.dat",
            "#F /buffer/fe.dat\n#D Fri Jun 28 13:38:56 2013\n\n#S 1  zapline mono 10 9.8\n"
            "#N 6\n#L Mon  Ion1  Ion2  Htime  TwoTheta  ZapEnergy\n"
            + rows(I0, IT, IR, T * 1e5, angle, E / 1000),
        ),
        "ESRF LISA": of(
            "fe.dat",
            "#eBraggEnergy I0_EH1 I1_EH1 mu I1_EH2 IR_EH2 mu_ref\n"
            + rows(E, I0, IT, MU, IT, IR, MU / 2),
        ),
        "PETRA P64, monitors by beamline": of(
            "fe.fio",
            "!\n%c\nfe foil \n%p\nabs = 3\n%d\n Col 1 ENERGY_ENC DOUBLE\n"
            " Col 2 P64_I0 DOUBLE\n Col 3 P64_I1 DOUBLE\n Col 4 P64_PIPS DOUBLE\n"
            + rows(E, I0, IT, FL),
            warns=True,
        ),
        "CLS, titles in quotes": of(
            "fe.dat",
            '# CLS Data Acquisition\n#(1)\t"Event-ID"\t"BL1606:Energy"\t"BL1606:mcs03"\t'
            '"BL1606:mcs04"\n#(1)\t"Event-ID"\t"$(EnergySetting)"\t"$(I0)"\t"$(I1)"\n'
            "# Background counts time=0, 0, 0, 5.0\n" + rows(T, E, I0, IT, sep=", "),
        ),
        "SSRL, windows of a detector": of(
            "fe_002.A",
            "SSRL   MicroEXAFS Data Collector 1.0 \nSat Aug 09 11:58:07 2008\nData:\n"
            "Real Time Clock\nRequested Energy\nI0   \nSCA1.1   \nSCA1.2   \nICR.1   \n\n"
            + rows(T, E, I0, FL / 4, 3 * FL / 4, FL * 9, sep="\t"),
            fl,
        ),
        "Photon Factory, elements and their rates": of(
            "fe.dat",
            "  9809     KEK-PF   BL9A\n Mono :   Si(111)       D=  3.13551 A\n"
            "  Angle(c)  Angle(o)    time/s         1         2         3         1\n"
            "      Mode         0         0         3         3         1       103\n"
            "    Offset         0         0     0.000     0.000   753.700     0.000\n"
            + rows(angle, angle, T, FL / 4, 3 * FL / 4, I0, FL * 9),
            fl,
            tolerance=1e-5,
        ),
        "Photon Factory, several regions": of(
            "fe.dat",
            "  9809     KEK-PF   BL9C\n fe   19.03.04 11:00 - 19.03.04 11:20\n Fe foil\n"
            " Mono :   SI(111)       D=  3.13551 A    Initial angle=16.3 deg\n"
            " BL9C   Transmission( 2)   Repetition=  1     Points=  140\n\n"
            " Block      Init-Eng  final-Eng     Step/eV     Time/s       Num\n"
            "   1        7050.00   7100.00      1.00        1.00        50\n"
            "   2        7100.00   7150.00      1.00        1.00        50\n"
            "   3        7150.00   7190.00      1.00        2.00        40\n"
            " Ortec( 0)     NDCH =  3\n"
            "  Angle(c)  Angle(o)    time/s         1         2         3\n"
            "      Mode         0         0         1         2         5\n"
            "    Offset         0         0     0.000     0.000     0.000\n"
            + rows(angle, angle, T, I0, IT, IR),
            tolerance=1e-5,
        ),
        "PETRA P65, monitors in German": of(
            "fe.fio",
            "!\n%c\nfe foil \n%p\nabs = 3\n%d\n Col 1 ENERGYHMI DOUBLE\n"
            " Col 2 ENC DOUBLE\n Col 3 P65_IK0 DOUBLE\n Col 4 P65_IK1 DOUBLE\n"
            " Col 5 P65_IK2 DOUBLE\n" + rows(E, angle, I0, IT, IR),
        ),
        "CLS, titles counted in one line": of(
            "fe.dat",
            "# CLS Data Acquisition\n# (1) Event-ID\t(2) Energy:eV\t(3) I0Detector:counts"
            "\t(4) I1Detector:counts\t(5) dwell:sec\n"
            + rows(T, E, I0, IT, T, sep="\t"),
        ),
        "EPICS MDA as text": of(
            "fe.asc",
            "## 9-BM\n# Column Descriptions:\n#    1  [     Index      ]\n"
            "#    2  [1-D Positioner 1]  9bmb:m1.VAL, mono energy, TABLE, eV, 9bmb:m1.RBV\n"
            "#    3  [1-D Detector   1]  9bmb:scaler.S2, I0, \n"
            "#    4  [1-D Detector   2]  9bmb:scaler.S3, It, \n"
            + rows(np.arange(E.size), E, I0, IT),
        ),
        "ALS, requested and actual": of(
            "fe.xas",
            "ALS 10.3.2 XAS Scan\nRequested E(eV)\tActual E(eV)\tI0\tI1\tLive%\n"
            + rows(E + 0.02, E, I0, IT, T * 93, sep="\t"),
        ),
        "Diamond I20, angle and energy": of(
            "fe.dat",
            "# Diamond Light Source\n# bragg1WithOffset\tenergy\ttime\tlnI0It\n"
            + rows(angle, E, T, MU, sep="\t"),
        ),
        "E in keV behind an angle": of(
            "fe.txt",
            "Mono (deg)\tE (keV)\tI0\tI1\n" + rows(angle, E / 1e3, I0, IT, sep="\t"),
        ),
        "arbitrary units behind a slash": of(
            "fe.dat",
            "# Photon energy / eV | I_0 / a.u. | I_1 / a.u. | I_2 / a.u.\n"
            + rows(E, I0, IT, IR),
        ),
        "an angle beside energies": of(
            "fe.dat",
            "# BL01B1 export\nAngle[deg]\tEnergy[eV]\tI0\tI\tmut\n"
            + rows(angle, E, I0, IT, MU, sep="\t"),
        ),
        "titles in quotes": of(
            "fe.txt",
            '"energy / eV" "mesh / A" "TEY / A"\n' + rows(E, I0, FL),
            fl,
        ),
        "fluorescence of an element": of(
            "fe.dat", "# energy I0 fluor_Fe dwell\n" + rows(E, I0, FL, T), fl
        ),
        "2d of the crystal in a comment": of(
            "fe.csv",
            "bragg_deg,i0,i1\n# Si(111), 2d = 6.27102 A\n"
            + rows(angle, I0, IT, sep=","),
            tolerance=1e-5,
        ),
        "SOLEIL ROCK, sample and reference": of(
            "fe.txt", "#ROCK\nE(eV) mus mur i0_mean\n" + rows(E, MU, MU / 2, I0)
        ),
        "aXis2000": of(
            "fe.csv",
            "*********************  X-ray Absorption Data  ********************\n*\n"
            "* Formula: \n* Common name: fe\n* Y axis: \n*---------------\n"
            + rows(E, MU, sep=", "),
        ),
    }
    for names in (
        "energy i0 it",
        "energy i0 i1",
        "energy time i0 it",
        "energy energy_rbv i0 it",
        "energy mono_energy i0 i1",
        "energy i0 itrans",
    ):
        known = {
            "energy": E,
            "i0": I0,
            "it": IT,
            "i1": IT,
            "time": T,
            "itrans": IT,
            "energy_rbv": E + 0.01,
            "mono_energy": E,
        }
        found[names] = of(
            "a.dat", f"# {names}\n" + rows(*(known[n] for n in names.split()))
        )
    for names in ("energy i0 fe_ka", "energy i0 ifluor"):
        found[names] = of("a.dat", f"# {names}\n" + rows(E, I0, FL), fl)
    return found


def vibrational() -> dict[str, Dialect]:
    """Return Raman and infrared spectra as instruments write them."""

    def of(
        name: str, text: str, quantity: str = "intensity", **more: object
    ) -> Dialect:
        values = more.pop("values", RAMAN)
        return Dialect(name, text, S, values, quantity, **more)  # type: ignore[arg-type]

    a = np.round(RAMAN / 1000, 5)
    packed = "".join(
        f"{S[i]:.1f}"
        + "".join(f"+{v}" for v in np.rint(a[i : i + 8] * 1e5).astype(int))
        + "\n"
        for i in range(0, S.size, 8)
    )
    jcamp = (
        "##TITLE=oxide\n##JCAMP-DX=4.24\n##DATA TYPE=INFRARED SPECTRUM\n##XUNITS=1/CM\n"
        f"##YUNITS={{}}\n##FIRSTX={S[0]}\n##LASTX={S[-1]}\n##NPOINTS={S.size}\n"
        "##XFACTOR=1\n##YFACTOR=0.00001\n##XYDATA=(X++(Y..Y))\n" + packed + "##END=\n"
    )
    labspec = (
        "#Acq. time (s)=\t10\n#Laser=\t532nm_Edge\n#AxisType[0]=\tIntens\n"
        "#AxisUnit[0]=\tCnt\n#AxisType[1]=\tSpectr\n#AxisUnit[1]=\t1/cm\n"
    )
    return {
        "Renishaw": of(
            "r.txt", "#Wave\t\t#Intensity\n" + rows(S[::-1], RAMAN[::-1], sep="\t\t")
        ),
        "LabSpec": of("l.txt", labspec + rows(S, RAMAN, sep="\t"), encoding="latin-1"),
        "WITec": of(
            "w.txt",
            "X-Axis\tSpec.Data 1\n[rel. 1/cm]\t[CCD cts]\n".replace(
                "X-Axis", "Raman Shift"
            ).replace("Spec.Data 1", "Intensity")
            + rows(S, RAMAN, sep="\t"),
        ),
        "OPUS dpt": of("o.dpt", rows(S[::-1], RAMAN[::-1], sep=",")),
        "PerkinElmer": of(
            "p.asc",
            "cm-1,%T\n" + rows(S, a, sep=","),
            "transmittance",
            values=a,
        ),
        "Omnic csv": of(
            "p.csv",
            "Wavenumber (cm-1),Absorbance\n" + rows(S, a, sep=","),
            "absorbance",
            values=a,
        ),
        "JCAMP, absorbance": of(
            "j.jdx", jcamp.format("ABSORBANCE"), "absorbance", values=a
        ),
        "JCAMP, transmittance": of(
            "j.dx", jcamp.format("TRANSMITTANCE"), "transmittance", values=a
        ),
        "dwell before counts": of(
            "d.txt",
            "Raman shift (cm-1)\tDwell (s)\tCounts\n"
            + rows(S, S * 0 + 2, RAMAN, sep="\t"),
        ),
        "Chinese instrument": of(
            "c.txt",
            "样品\nRaman Shift (cm-1)\tIntensity\n" + rows(S, RAMAN, sep="\t"),
            encoding="gbk",
        ),
    }


def diffraction() -> dict[str, Dialect]:
    """Return patterns as diffractometers and programs write them."""

    def of(name: str, text: str, **more: object) -> Dialect:
        return Dialect(name, text, TT, XRD, "intensity", **more)  # type: ignore[arg-type]

    counts = [f"{v:.0f}" for v in XRD]
    lines = "\n".join(", ".join(counts[i : i + 4]) for i in range(0, len(counts), 4))
    eights = "\n".join(" ".join(counts[i : i + 8]) for i in range(0, len(counts), 8))
    tens = "\n".join(
        "".join(f" 1{c:>6s}" for c in counts[i : i + 10])
        for i in range(0, len(counts), 10)
    )
    fives = "\n".join(
        "".join(f"{v:8.0f}{np.sqrt(v):8.2f}" for v in XRD[i : i + 5])
        for i in range(0, len(XRD), 5)
    )
    n, first, last = TT.size, TT[0], TT[-1]
    return {
        "two columns": of("a.xy", rows(TT, XRD)),
        "xye": of("a.xye", rows(TT, XRD, np.sqrt(XRD))),
        "PANalytical csv": of(
            "p.csv",
            "[Measurement conditions]\nK-Alpha1 wavelength,1.5405980\n"
            "Scan axis,Gonio\n[Scan points]\nAngle,TimePerStep,Intensity,ESD\n"
            + rows(TT, TT * 0 + 1, XRD, np.sqrt(XRD), sep=","),
        ),
        "xrdml": of(
            "p.xrdml",
            '<?xml version="1.0" encoding="UTF-8"?>\n<xrdMeasurements xmlns="http://www.xrdml.com/'
            'XRDMeasurement/1.3"><xrdMeasurement><usedWavelength><kAlpha1 unit="Angstrom">1.5405980'
            "</kAlpha1></usedWavelength><scan><header><startTimeStamp>2022-07-26T23:01:58+02:00"
            '</startTimeStamp></header><dataPoints><positions axis="2Theta" unit="deg">'
            f"<startPosition>{first}</startPosition><endPosition>{last}</endPosition></positions>"
            '<commonCountingTime unit="seconds">20.0</commonCountingTime><intensities unit="counts">'
            + " ".join(counts)
            + "</intensities></dataPoints></scan></xrdMeasurement></xrdMeasurements>\n",
        ),
        "Rigaku ras": of(
            "r.ras",
            '*RAS_DATA_START\n*RAS_HEADER_START\n*MEAS_SCAN_START_TIME "07/26/22 23:01:58"\n'
            '*HW_X_RAY_WAVE_LENGTH1 "1.540593"\n*MEAS_COND_XUNIT "deg"\n*RAS_HEADER_END\n'
            "*RAS_INT_START\n"
            + rows(TT, XRD, TT * 0 + 1)
            + "*RAS_INT_END\n*RAS_DATA_END\n",
        ),
        "Rigaku asc": of(
            "r.asc",
            "*TYPE\t\t=  Raw\n*CLASS\t\t=  Standard Measurement\n*BEGIN\n"
            f"*START\t\t=  {first}\n*STOP\t\t=  {last}\n*STEP\t\t=  0.05\n*COUNT\t\t=  {n}\n"
            + lines
            + "\n*END\n*EOF\n",
        ),
        "Bruker uxd": of(
            "b.uxd",
            "; C:\\DATA\\a.raw\n_FILEVERSION=2\n_SAMPLE='oxide'\n_WL1=1.540600\n"
            f"_DRIVE='COUPLED'\n_STEPTIME=1.0\n_STEPSIZE=0.05\n_STEPMODE='C'\n_START={first}\n"
            "_COUNTS\n" + eights + "\n",
        ),
        "Philips udf": of(
            "p.udf",
            f"SampleIdent,oxide ,/\nTitle1,a ,/\nDataAngleRange,  {first}, {last},/\n"
            "ScanStepSize,    0.050,/\nRawScan\n" + lines + "/\n",
        ),
        "Sietronics cpi": of(
            "s.cpi",
            f"SIETRONICS XRD SCAN\n{first}\n{last}\n0.05\nCu\n1.54056\n22-07-26\n1.0\nHBRAGG\n"
            "sample\nSCANDATA\n" + "\n".join(counts) + "\n",
        ),
        "GSAS STD": of(
            "g.gsa",
            f"oxide\nBANK 1 {n} {(n + 9) // 10} CONS {first * 100:.2f} 5.00 0 0 STD\n"
            + tens
            + "\n",
        ),
        "GSAS ESD": of(
            "g.gsa",
            f"oxide\nBANK 1 {n} {(n + 4) // 5} CONST {first * 100:.2f} 5.00 0 0 ESD\n"
            + fives
            + "\n",
        ),
        "double precision of Fortran": of(
            "f.dat",
            "# 2theta(deg) intensity\n" + rows(TT, XRD, form="%.10E").replace("E", "D"),
        ),
        "GSAS fxye": of(
            "g.fxye",
            "oxide\nInstrument parameter file:x.prm\n"
            f"BANK 1 {n} {n} CONS {first * 100:.2f} 5.00 0 0 FXYE\n"
            + rows(TT * 100, XRD, np.sqrt(XRD)),
        ),
        "start step stop": of("f.dat", f"{first} 0.05 {last} oxide\n" + eights + "\n"),
        "pyFAI": of(
            "y.dat",
            "# == pyFAI calibration ==\n# Wavelength: 4.1e-11 m\n# --> a.tif\n"
            "#  2th_deg             I    sigma\n" + rows(TT, XRD, np.sqrt(XRD)),
        ),
        "GSAS-II csv": of(
            "g2.csv",
            '"2theta","y_obs","weight","y_calc","y_bkg"\n'
            + rows(TT, XRD, XRD * 0 + 1, XRD * 0.9, XRD * 0.1, sep=","),
        ),
    }
