"""Extended XYZ with digits that read back bit for bit; ASE writes eight decimals of Å and eV/Å."""

from collections.abc import Iterable
from typing import IO

import numpy as np
from ase import Atoms
from ase.io.extxyz import output_column_format, save_calc_results
from ase.stress import voigt_6_to_full_3x3_stress


def write_extxyz(stream: IO[str], frames: Iterable[Atoms]) -> None:
    """Write frames with their labels, as ASE names them.

    Parameters
    ----------
    stream : open for text
    frames : N atoms each, Å, eV, eV/Å, eV/Å^3 (ASE's sign); constraints are not written
    """
    for atoms in frames:
        frame = atoms.copy()
        save_calc_results(frame, atoms.calc, calc_prefix="", force=True)
        if np.shape(frame.info.get("stress")) == (6,):
            frame.info["stress"] = voigt_6_to_full_3x3_stress(frame.info["stress"])
        columns = {"symbols": np.array(frame.get_chemical_symbols()), "positions": frame.positions}
        columns |= {k: v for k, v in frame.arrays.items() if k not in ("numbers", "positions")}
        header, *_ = output_column_format(frame, list(columns), columns)
        stream.write(f"{len(frame)}\n{header}\n")
        table = [np.reshape(values, (len(frame), -1)).tolist() for values in columns.values()]
        for rows in zip(*table, strict=True):
            stream.write(" ".join(_word(value) for row in rows for value in row) + "\n")


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "T" if value else "F"
    return repr(value) if isinstance(value, float) else f"{value!s:<2}"
