"""Structures around a given one: compressed, expanded, rattled, relaxed."""

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.parallel import DummyMPI
from numpy.typing import NDArray

from atomistics.bonded import whole
from atomistics.contacts import pushed
from atomistics.errors import UserError
from atomistics.reference.convergence import LabelFailedError
from atomistics.reference.counting import CountingCalculator
from atomistics.reference.methods import label

STRAIN = 0.02  # standard deviation of each component
PROBE = 0.03  # Å
EXPANSION = 0.03  # of every second warm copy's lengths: crystals melt at about that
NEAREST = 0.75  # of a distance at rest, of a warm copy; heat brings no two atoms nearer
DRAWS = 100


def compression(atoms: Atoms, factors: list[float]) -> list[Atoms]:
    """Copies with all cell lengths, and positions with them, times each factor.

    The volume goes with the third power: 0.97 is 9 % compression. Molecules and molecular ions keep
    their shape (Å) and move with their centre, as under pressure: a potential must see how they
    repel each other well within the distances of MD, or it may invent a well there.

    Parameters
    ----------
    atoms : N atoms, Å
    factors : of the lengths

    Returns
    -------
    a frame a factor

    Raises
    ------
    UserError
        A factor is not above 0.
    """
    molecular = whole(atoms)
    number = molecular.arrays.pop("molecule")
    groups = [np.flatnonzero(number == n) for n in range(number.max(initial=-1) + 1)]
    frames = []
    for factor in factors:
        if not factor > 0:
            raise UserError(f"compression: factor {factor!r} must be above 0")
        frame = molecular.copy()
        frame.set_cell(atoms.cell * factor, scale_atoms=True)
        for group in groups:
            shape = molecular.positions[group] - molecular.positions[group].mean(axis=0)
            frame.positions[group] = frame.positions[group].mean(axis=0) + shape
        frames.append(frame)
    return frames


def rattle(
    atoms: Atoms,
    amplitude: float,
    seed: int,
    index: int,
    strain: float = 0.0,
    expansion: float = 0.0,
    nearest: float = 0.0,
) -> Atoms:
    """Copy with Gaussian displacements, and a strain before them.

    Parameters
    ----------
    atoms : N atoms, Å
    amplitude : Å, standard deviation of each component
    seed, index : copy number `index` is the same for the same seed
    strain : standard deviation of each component of a symmetric strain, of a cell of three vectors
    expansion : of the lengths of such a cell, beside it
    nearest : atoms that come nearer to another than this fraction of their distance are displaced
        anew, by less and less

    Returns
    -------
    the frame, without labels
    """
    frame = atoms.copy()
    generator = np.random.default_rng([seed, index])
    if strain and atoms.cell.rank == 3:
        tensor = generator.normal(0.0, strain, (3, 3))
        deformation = (1 + expansion) * np.eye(3) + (tensor + tensor.T) / 2
        frame.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
    rest, least = frame.positions.copy(), nearest * _distances(frame) if nearest else None
    frame.positions += generator.normal(0.0, amplitude, rest.shape)
    for _ in range(DRAWS if nearest else 0):
        amplitude *= 0.95
        pressed = np.flatnonzero((_distances(frame) < least).any(axis=1))
        if not len(pressed):
            break
        displaced = generator.normal(0.0, amplitude, (len(pressed), 3))
        frame.positions[pressed] = rest[pressed] + displaced
    return frame


def _distances(atoms: Atoms) -> NDArray[np.float64]:
    """(N, N) Å, of the nearest images; an atom is infinitely far from itself."""
    table = atoms.get_all_distances(mic=True)
    np.fill_diagonal(table, np.inf)
    return table


def rattle_and_relax(
    atoms: Atoms,
    calculator: Calculator | CountingCalculator,
    count: int,
    amplitude: float,
    relax_steps: int,
    seed: int,
    failures: list[tuple[int, str, str]] | None = None,
) -> list[Atoms]:
    """Labelled frames of rattled copies: each as rattled and after its relaxation.

    A copy whose first label fails gives no frame, one whose relaxation fails keeps its first. BFGS
    takes one call a step after the first, none once all forces are below 0.01 eV/Å.

    Parameters
    ----------
    atoms : N atoms, Å
    calculator : a `CountingCalculator` holds the exact number of calls afterwards
    count : copies
    amplitude : Å, standard deviation of each component
    relax_steps : most steps of BFGS at fixed cell
    seed : of the displacements
    failures : takes (copy, kind, detail) of each label that failed

    Returns
    -------
    frames, eV, eV/Å, eV/Å^3

    Raises
    ------
    LabelFailedError
        A label failed and there is no list to take it.
    """
    counting = CountingCalculator.of(calculator)
    frames: list[Atoms] = []
    for index in range(count):
        try:
            start = rattle(atoms, amplitude, seed, index)
            frames.append(label(start, counting))
            frames.extend(_relaxed(start, counting, relax_steps))
        except LabelFailedError as error:
            if failures is None:
                raise
            failures.append((index, error.kind, error.detail))
    return frames


def warm_copies(
    atoms: Atoms,
    calculator: Calculator | CountingCalculator,
    count: int,
    most: float,
    kelvin: float,
    seed: int,
    failures: list[tuple[int, str, str]],
) -> list[Atoms]:
    """Labelled copies displaced in even steps up to what three times `kelvin` does to a crystal.

    What MD will visit, for a call a frame, the first of which tells how stiff it is (and one more
    where `atoms` is not labelled). Under a random strain of 2 % each, every second one expanded as
    heat expands a crystal. Of rock salt at 600 K (NEP89) first fits were off by 0.10 GPa in the
    mean, by 0.23 where displaced atoms might come as near to each other as they liked.
    Of molecules and ions every second copy is `pushed` together instead, each body as it is.

    Parameters
    ----------
    atoms : N atoms, Å, at rest
    calculator : counts where it is a `CountingCalculator`
    count : copies
    most : Å, the largest standard deviation of a displacement
    kelvin : K
    seed : of the displacements
    failures : takes (copy, kind, detail) of each label that failed

    Returns
    -------
    frames, eV, eV/Å, eV/Å^3, the probe of `thermal` first

    Raises
    ------
    LabelFailedError
        `atoms` or the probe has no label.
    """
    counting = CountingCalculator.of(calculator)
    largest_rms, probe = thermal(atoms, counting, 3 * kelvin, seed)
    largest, frames = min(most, largest_rms), [probe]
    close = pushed(atoms, count // 2, seed)
    for index in range(count):
        try:
            amplitude, wide = largest * (index + 1) / count, EXPANSION * (index % 2)
            copy = rattle(atoms, amplitude, seed, index, STRAIN, wide, NEAREST)
            if index % 2 == 0 and index // 2 < len(close):
                copy = close[index // 2]
            frames.append(label(copy, counting))
        except LabelFailedError as error:
            failures.append((index, error.kind, error.detail))
    return frames


def thermal(
    atoms: Atoms, counting: CountingCalculator, kelvin: float, seed: int
) -> tuple[float, Atoms]:
    """How far to displace a crystal so that its energy rises as heat would raise it.

    In a harmonic crystal 3N kT / 2 of potential energy go with it (equipartition), and the energy
    grows with the square of the displacement. Independent displacements load the stiff modes more
    than heat does, the soft ones less.

    Parameters
    ----------
    atoms : N atoms, Å, at rest; one call more where they are not labelled
    counting : asked once
    kelvin : K
    seed : of the displacements

    Returns
    -------
    standard deviation (Å) of each component, and the labelled copy that told it

    Raises
    ------
    LabelFailedError
        A label fails.
    """
    rest_frame = atoms if isinstance(atoms.calc, SinglePointCalculator) else label(atoms, counting)
    rest = rest_frame.calc.results["energy"]
    probe = label(rattle(atoms, PROBE, seed, -1 % 2**31), counting)
    risen = max((probe.get_potential_energy() - rest) / (3 * len(atoms)), 1e-6)
    return PROBE * float(np.sqrt(units.kB * kelvin / 2 / risen)), probe


def _relaxed(start: Atoms, counting: CountingCalculator, steps: int) -> list[Atoms]:
    from ase.optimize import BFGS  # half a second, often not needed

    moving = start.copy()
    moving.calc = counting
    optimiser = BFGS(moving, logfile=None, comm=DummyMPI())
    optimiser.run(fmax=0.01, steps=steps)
    return [label(moving, counting)] if optimiser.nsteps else []
