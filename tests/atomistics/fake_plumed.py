"""A double of PLUMED's Python module: DISTANCE and (well-tempered) METAD, in the units of ASE."""

import re
from pathlib import Path

import numpy as np
from ase import units

PICOSECOND = 1000 * units.fs


class Plumed:
    """The calls ASE makes; anything not understood is an error, as it is with PLUMED."""

    def __init__(self):
        self.given, self.lines, self.hills = {}, [], []

    def cmd(self, key, value=None):
        self.given[key] = value
        if key == "readInputLine":
            self.lines.append(value)
        if key == "performCalc":
            self._perform()
        if key == "getBias":
            value[0] = self.bias

    def finalize(self):
        if path := self._word("FILE"):
            rows = [f"{step} {center:.10f} {height:.10f}\n" for step, center, height in self.hills]
            Path(path).write_text("".join(rows))

    def _word(self, key):
        found = re.search(rf"\b{key}=(\S+)", " ".join(self.lines))
        return found.group(1) if found else None

    def _perform(self):
        assert self.given["setMDLengthUnits"] == 1 / units.nm
        assert self.given["setMDEnergyUnits"] == units.mol / units.kJ
        assert np.isclose(self.given["setMDTimeUnits"], 1 / PICOSECOND)
        assert self._word("LENGTH") == "A"
        assert float(self._word("ENERGY")) == units.mol / units.kJ
        atoms = [int(word) - 1 for word in self._word("ATOMS").split(",")]
        vector = self.given["setPositions"][atoms[1]] - self.given["setPositions"][atoms[0]]
        distance = np.linalg.norm(vector)
        sigma, step = float(self._word("SIGMA")), self.given["setStep"]
        self.bias, slope = self._potential(distance, sigma)
        pull = -slope * vector / distance
        self.given["setForces"][atoms[1]] += pull
        self.given["setForces"][atoms[0]] -= pull
        if step and step % int(self._word("PACE")) == 0:
            height = float(self._word("HEIGHT"))
            if factor := self._word("BIASFACTOR"):
                kelvin = float(self._word("TEMP")) * (float(factor) - 1)
                height *= np.exp(-self.bias / (units.kB * kelvin))
            self.hills.append((step, distance, height))

    def _potential(self, distance, sigma):
        value = slope = 0.0
        for _, center, height in self.hills:
            gauss = height * np.exp(-((distance - center) ** 2) / (2 * sigma**2))
            value += gauss
            slope -= gauss * (distance - center) / sigma**2
        return value, slope
