"""A few steps downhill with the reference, so that MD does not start from a packing's strains."""

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.optimize import FIRE

from atomistics.errors import UserError
from atomistics.reference.convergence import LabelFailedError

CALM = 0.3  # eV/Å, where relaxation ends early
STEP = 0.1  # Å, the longest of one atom in one step


def relax(atoms: Atoms, calculator: Calculator, steps: int) -> None:
    """Relax at fixed cell by FIRE (Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006)).

    Parameters
    ----------
    atoms : N atoms, Å; moved in place until every force is below 0.3 eV/Å
    calculator : eV, eV/Å
    steps : at most

    Raises
    ------
    UserError
        The reference fails, or the energy does not fall.
    """
    atoms.calc = calculator
    try:
        before = atoms.get_potential_energy()
        FIRE(atoms, logfile=None, maxstep=STEP).run(fmax=CALM, steps=steps)
        after = atoms.get_potential_energy()
    except (LabelFailedError, ArithmeticError) as error:
        raise UserError(f"relaxation: the reference failed: {error}") from None
    finally:
        atoms.calc = None
    if not np.isfinite(after) or after > before + 1e-3 * len(atoms):
        raise UserError(f"relaxation: the energy rose from {before:.3f} to {after:.3f} eV")
    atoms.info["relaxed_ev"] = round(float(before - after), 6)
