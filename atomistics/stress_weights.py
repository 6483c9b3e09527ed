"""What a stress weighs in a fit: by the stresses that the labels of its subsystem span.

They span 1 GPa in water, 3 in silicon, 11 in graphite. One weight for all lets the stresses of
a stiff solid outweigh its forces, or a liquid boil.
"""

from collections.abc import Sequence

import numpy as np
from ase import Atoms, units

AIM = 0.04  # of the span: a stress off by this counts as much
FORCE = 0.15  # eV/Å: as a force off by this
LEAST, MOST = 0.001, 0.3  # MLIP-3's, and beyond which forces between atoms lose


def stress_span(frames: Sequence[Atoms]) -> float:
    """Median over frames of the root mean square of the six components of the stress.

    Parameters
    ----------
    frames : N atoms each, with stress (eV/Å^3) where there is one

    Returns
    -------
    GPa; 0 where no frame has a stress
    """
    stresses = [a.get_stress() for a in frames if a.calc and "stress" in a.calc.results]
    if not stresses:
        return 0.0
    return float(np.median([np.sqrt((s**2).mean()) for s in stresses]) / units.GPa)


def stress_weight(atoms: Atoms, span: float, force_weight: float) -> float:
    """Weight of a frame's stress: one over the square of what may be wrong, as with its forces.

    Parameters
    ----------
    atoms : N atoms in a periodic cell, Å
    span : GPa, `stress_span` of its subsystem
    force_weight : weight of forces in the loss

    Returns
    -------
    w in the term w / N (9 components of the virial, eV)^2 of MLIP's loss, two digits of it
    """
    virial = max(AIM * span * units.GPa * atoms.get_volume(), 1e-6)
    weight = len(atoms) * force_weight * (FORCE / virial) ** 2
    return float(f"{np.clip(weight, LEAST, MOST):.1e}")
