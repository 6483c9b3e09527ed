"""How much settling a structure may cost; apart, since plans are priced without ASE."""

from dataclasses import dataclass

MOST_KEPT = 40  # frames of one settling kept as labels
FEWEST_KEPT, SMALL = 8, 150  # of a large structure, whose every frame holds more; atoms of a small


def most_kept(atoms: int) -> int:
    """Frames of one settling of so many atoms that are kept: about the same number of atoms."""
    return max(FEWEST_KEPT, min(MOST_KEPT, MOST_KEPT * SMALL // atoms))


@dataclass(frozen=True)
class Effort:
    """Most steps of each part: cell and positions of a crystal, a packing downhill, warm-up.

    A crystal is only warmed where `warm_crystal` says so: what is held against MD must be at the
    temperature of use, what MD starts from need not. `packed` is no crystal, however small its
    forces: a few molecules in a cell that may breathe come to rest as a gas.
    """

    crystal: int = 15
    packing: int = 150
    warm: int = 60
    warm_packing: int = 100
    warm_crystal: bool = False
    packed: bool = False
