"""How much settling a structure may cost; apart, since plans are priced without ASE."""

from dataclasses import dataclass

MOST_KEPT = 40  # frames of one settling kept as labels


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
