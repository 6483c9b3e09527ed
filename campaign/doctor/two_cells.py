"""Whether a reference gives one crystal the same energy in two cells of different size.

Gamma-only sampling of a metal does not (0.19 eV/atom between two cells of lithium), a mesh that
does not follow the cell neither: a potential then learns the size of cells for a property of
matter.
"""

from typing import TYPE_CHECKING

import numpy as np

from campaign.doctor.finding import Finding, fail, note
from campaign.errors import UserError
from campaign.folder import Campaign

if TYPE_CHECKING:
    from ase import Atoms

WHAT = "cells"
NOTED, SHARE = 1e-3, 0.5  # eV/atom; of targets.energy_mae, beyond which a campaign cannot be right
REMEDY = (
    "k-points by density (docs/references.md), cells of one size, or a reference that has no cell"
)


def two_cells(campaign: Campaign, seconds: float) -> Finding:
    """The smallest structure without vacuum, and the same repeated along its lowest height."""
    from atomistics.reference.convergence import LabelFailedError
    from atomistics.reference.methods import label, reference_calculator
    from atomistics.structure_index import read_index
    from atomistics.structures import heights, load
    from mtp.errors import MTPError

    settings = campaign.config.reference
    quick = settings.model_copy(update={"timeout": min(seconds, settings.timeout)})
    try:
        entries = read_index(campaign.folder / "structures")
        solid = [
            atoms
            for entry in entries
            if not (entry.fixed_cell or entry.single_point) and (atoms := load(entry)).pbc.all()
        ]
        if not solid:
            return note(WHAT, "no structure is periodic without vacuum: nothing to compare")
        small: Atoms = min(solid, key=len)
        times = np.ones(3, int)
        times[np.argmin(heights(small))] = 2
        calculator = reference_calculator(quick, campaign.folder)
        try:
            one, two = (label(a, calculator) for a in (small, small.repeat(times)))
        finally:
            calculator.close()
    except LabelFailedError as error:
        why = f"no label within {quick.timeout:g} s" if error.kind == "timeout" else error.detail
        return note(WHAT, f"not compared: {settings.title}: {why}", "try `planner doctor --cells`")
    except (UserError, MTPError, ValueError, OSError) as error:
        return note(WHAT, f"not compared: {error}", "mend config.yaml or structures/")
    return _judged(one, two, campaign)


def _judged(one: "Atoms", two: "Atoms", campaign: Campaign) -> Finding:
    """The difference in energy per atom, against what the task asks of the potential."""
    difference = abs(two.get_potential_energy() / len(two) - one.get_potential_energy() / len(one))
    target = campaign.task.targets.energy_mae
    text = (
        f"{one.get_chemical_formula()} and its double differ by {1000 * difference:.2g} meV/atom"
        f" (targets.energy_mae: {1000 * target:g})"
    )
    if difference > SHARE * target:
        return fail(WHAT, f"{text}: what the reference says depends on the cell", REMEDY)
    if difference > NOTED:
        return note(WHAT, text, REMEDY)
    return Finding(WHAT, text)
