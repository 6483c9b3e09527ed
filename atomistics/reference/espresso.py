"""Quantum ESPRESSO through ASE, where ASE does not hand on or read what pw.x means.

ASE 3.29 gives a structure's moments (µB) as `starting_magnetization`, which below 1 is a fraction
of the valence electrons, and above it is clipped to 1 (pw.x up to 7.2). And its reader of outputs
stops at the bands where Hubbard U meets 100 k-points or more, and takes the first of the energies
that a hybrid functional prints, which is without exact exchange (0.1 eV off for H2 by PBE0).
"""

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.espresso import EspressoTemplate
from ase.io import read

from atomistics.errors import UserError
from mtp.reading.programs import BANDS, energy_of_pw

VALENCE = re.compile(r'z_?valence\s*=\s*"\s*([-+\d.eEdD]+)|([\d.]+)\s+Z valence', re.IGNORECASE)


class WithoutBands(EspressoTemplate):
    """Reads energy, forces and stress, and never the bands."""

    def read_results(self, directory: Path) -> dict[str, Any]:
        """Energy in eV, forces (N, 3) in eV/Å, stress (6,) in eV/Å^3."""
        text = (Path(directory) / self.outputname).read_text(errors="replace")
        atoms = read(io.StringIO(BANDS.sub(r"End of \1 part", text)), format="espresso-out")
        results = dict(atoms.calc.properties())
        if (energy := energy_of_pw(text)) is not None:
            results |= {"energy": energy, "free_energy": energy}
        return results


def with_polarization(atoms: Atoms, options: Mapping[str, Any]) -> Atoms:
    """Moments as pw.x takes them: as fractions of the valence electrons.

    Parameters
    ----------
    atoms
        N atoms with initial magnetic moments (N,) in µB.
    options
        `pseudo_dir` and `pseudopotentials`; with `rescale_magmom_fac` the user does it.

    Returns
    -------
    Atoms
        A copy whose initial moments are fractions; `atoms` itself where there is none.

    Raises
    ------
    UserError
        where a pseudopotential does not say how many electrons it has, or has fewer than a moment.
    """
    moments = atoms.get_initial_magnetic_moments()
    if "rescale_magmom_fac" in options or moments.ndim != 1 or not moments.any():
        return atoms
    scaled = atoms.copy()
    names = options.get("pseudopotentials", {})
    valence = {
        symbol: _valence(Path(str(options.get("pseudo_dir", "."))) / str(names.get(symbol)))
        for symbol in set(atoms.symbols)
    }
    fractions = [
        moment / valence[symbol] for symbol, moment in zip(atoms.symbols, moments, strict=True)
    ]
    if (largest := max(map(abs, fractions))) > 1:
        raise UserError(
            f"a structure's initial moment is {largest:.2f} times the valence electrons of its"
            " pseudopotential; moments are in µB"
        )
    scaled.set_initial_magnetic_moments(fractions)
    return scaled


def _valence(path: Path) -> float:
    try:
        match = VALENCE.search(path.read_text(errors="replace"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); see pseudo_dir") from None
    if match is None:
        raise UserError(f"{path}: does not say its valence electrons; give rescale_magmom_fac")
    return float((match[1] or match[2]).replace("d", "e").replace("D", "e"))
