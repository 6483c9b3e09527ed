"""Factors from ASE's units (Å, eV, u, its time of about 10 fs) to those that people write.

What ASE has by name (`ase.units.GPa`, `fs`, `kcal / mol`) is taken from there; here stands the
rest, once (CODATA 2018). Labels of files in other units are read by `mtp.reading.units`.
"""

from ase import units

GRAMS_PER_CM3 = 1.66053906660  # g/cm3 of 1 u/Å^3
PER_LITRE = 6.02214076e-4  # formula units in Å^3 at 1 mol/L
WATTS_PER_METRE_KELVIN = units.second / units.J / 1e-10  # of 1 eV/(Å t K), t ASE's unit of time
MILLIPASCAL_SECONDS = 1e3 / units.J / 1e-30 / units.second  # of 1 eV t/Å^3
