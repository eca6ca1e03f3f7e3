"""Kinds of arguments that are quantities of the table, for signatures."""

from __future__ import annotations

from typing import Annotated

from batteryxr.core.bounds.judgement import Physical
from batteryxr.core.checks import NonNegative, Pair, Positive, Rising

#: Mass of active material, in mg.
Mass = Annotated[Positive, Physical("mass")]
#: Capacity of a cell, in mA h.
Charge = Annotated[Positive, Physical("nominal capacity")]
#: Current below which a row is at rest, in mA.
RestCurrent = Annotated[Positive, Physical("rest current")]
#: Longest interval between rows, in s.
Gap = Annotated[float, Physical("gap")]
#: A difference of voltages, in V.
VoltageStep = Annotated[Positive, Physical("voltage step")]
#: A width in voltage, in V; 0 is none.
VoltageWidth = Annotated[NonNegative, Physical("voltage step")]
#: Two voltages, in V.
VoltageWindow = Annotated[Pair, Physical("voltage")]
#: Width of a value, as a fraction of it.
RelativeWidth = Annotated[Positive, Physical("relative tolerance")]
RelativeTolerance = Annotated[NonNegative, Physical("relative tolerance")]
#: Width in charge, as a fraction of a capacity.
PartOfCapacity = Annotated[NonNegative, Physical("part of a capacity")]
#: Fraction of a step or a maximum.
Share = Annotated[Positive, Physical("share")]
#: Length of an exposure, in s.
Exposure = Annotated[NonNegative, Physical("exposure")]
#: Longest pulse, and times after a switch within an interruption, in s.
PulseLength = Annotated[Positive, Physical("pulse")]
Interruption = Annotated[Pair, Physical("interruption")]
#: Current that charges the cell, in mA.
Current = Annotated[float, Physical("current")]
#: Time in which lithium diffuses through a particle, in s.
DiffusionTime = Annotated[Positive, Physical("diffusion time")]
#: Charges or discharges in an hour.
CRate = Annotated[Positive, Physical("C-rate")]
#: Begin and end of what is looked at in a pulse, in s.
PulseWindow = Annotated[tuple[NonNegative, float | None], Physical("window in a pulse")]
#: Range of the width of an edge, in eV.
EdgeWidth = Annotated[
    tuple[float, float], Rising(ties=True), Physical("width of an edge")
]
#: Length of a rest and of a pulse of a titration, and time between rows, in s.
Rest = Annotated[Positive, Physical("rest")]
TitrationPulse = Annotated[Positive, Physical("titration pulse")]
RowInterval = Annotated[Positive, Physical("row interval")]
#: Standard deviation of noise, as a fraction.
RelativeNoise = Annotated[NonNegative, Physical("relative noise")]
#: Ohmic resistance, in ohm.
Resistance = Annotated[float, Physical("resistance")]
#: Step of energy between points, in eV.
EnergyStep = Annotated[Positive, Physical("energy step")]
#: How far a clock may be off, in s.
ClockOffset = Annotated[Positive, Physical("clock offset")]
#: How much faster one clock may run than another, in parts per million.
ClockDrift = Annotated[Positive, Physical("clock drift")]
#: Number per formula unit.
Electrons = Annotated[Positive, Physical("electrons")]
#: Li per formula unit or centre.
LiContent = Annotated[float, Physical("Li content")]
#: Length of diffusion, in nm.
Radius = Annotated[Positive, Physical("particle radius")]
#: Energy of photons, in eV.
PhotonEnergy = Annotated[Positive, Physical("photon energy")]
#: Distance from sample to detector, in mm.
Distance = Annotated[Positive, Physical("detector distance")]
#: Pixel of a detector, in um.
DetectorPixel = Annotated[Positive, Physical("detector pixel")]
#: Pixel of an image, in nm.
PixelSize = Annotated[Positive, Physical("pixel size")]
#: Voxel of a volume, in nm.
VoxelSize = Annotated[Positive, Physical("voxel size")]
#: Size of a crystal, in nm.
CrystalSize = Annotated[Positive, Physical("crystal size")]
#: Relative difference of lattice lengths.
Strain = Annotated[Positive, Physical("strain")]
#: Angle from the beam to a surface, and the largest angle of scattering, in degrees.
Incidence = Annotated[float, Physical("angle of incidence")]
TwoTheta = Annotated[Positive, Physical("largest scattering angle")]
#: Step from point to point of a scan, in nm.
ScanStep = Annotated[Positive, Physical("span of positions")]
#: Lengths and angles of a unit cell, in Angstrom and degrees.
LatticeLength = Annotated[Positive, Physical("lattice length")]
LatticeAngle = Annotated[Positive, Physical("lattice angle")]
#: Radius of a goniometer, in mm.
GoniometerRadius = Annotated[Positive, Physical("goniometer radius")]
ScherrerFactor = Annotated[Positive, Physical("Scherrer factor")]
#: Range of distances between atoms, in Angstrom.
RRange = Annotated[Pair, Physical("distance r")]
#: The same of a simulation, and its step.
SimulatedRange = Annotated[Pair, Physical("simulated r")]
RStep = Annotated[Positive, Physical("step of r")]
#: Largest measured Q, in 1/Angstrom.
QMax = Annotated[Positive, Physical("range of Q")]
#: Width of the measurement in Q, in 1/Angstrom.
QDamp = Annotated[NonNegative, Physical("damping of Q")]
#: Diameter of a zone plate, in um, and width of its outermost zone, in nm.
ZonePlateSize = Annotated[Positive, Physical("zone plate")]
OuterZone = Annotated[Positive, Physical("outer zone")]
#: Width of a focus, in nm.
Focus = Annotated[Positive, Physical("focus")]
#: Half angle that an optic accepts, in mrad.
HalfAngle = Annotated[Positive, Physical("half angle")]
#: Distance from the focus to the sample, in um.
Defocus = Annotated[float, Physical("defocus")]
