"""A double of MLIP-3's and MLIP-2's `mlp` with their documented pitfalls; FAKE_MLP names one."""

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from mtp.engine import Engine
from mtp.error_report import ErrorReport
from mtp.formats.almtp import read_potential, write_potential
from mtp.formats.cfg import read_cfg, write_cfg

MODE = os.environ.get("FAKE_MLP", "good")
RANKS = int(os.environ.get("FAKE_RANKS", "0"))


def report(model, configurations):
    result = ErrorReport()
    for c, e in zip(configurations, Engine(model).evaluate(configurations), strict=True):
        result.add(c, e)
    return result.text()


def train(potential, train_set, output, two):
    if MODE == "usage":
        print("mlp train: 2 arguments are required")
        return 0
    if MODE == "species":
        print("ERROR: Atomic number 0 from the MTP is not present in the training set")
        return 9
    if MODE == "hang":
        print("BFGS iter 0: f=1", flush=True)
        time.sleep(60)
    model = read_potential(potential)
    write_potential(output, model)
    for step in range(3):
        loss = "nan" if MODE == "nan" else f"{1.5 / (step + 1):g}"
        print(f"BFGS iter {step}: f={loss}", flush=True)
    if MODE == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    print("step limit reached\nMTPR training ended")
    if two:
        print("\t\t* * * TRAIN ERRORS * * *\n")
    text = report(model, read_cfg(train_set))
    print(
        text.replace("(in energy units)", "(in eV)").replace(
            "Virial stresses (in pressure units)", "Stresses (in GPa)"
        )
        if two
        else text
    )
    spoil(Path(output), model)
    if MODE == "silent":
        Path(output).unlink()
    if MODE == "overwrite":
        Path(potential).write_text("gone")
        Path(train_set).write_text("gone")
    if MODE != "unfinished" and not two:
        print("training complete")
    return 0


def spoil(output, model):
    text = output.read_text()
    if MODE == "truncated":
        output.write_text(text[: len(text) // 2])
    if MODE == "nan file":
        coefficient = f"{model.moment_coeffs[0]:.16e}"
        assert "moment_coeffs" in text
        head, mark, tail = text.partition("moment_coeffs = {")
        output.write_text(f"{head}{mark}nan{tail[tail.index(',') :]}" if coefficient else text)
    if MODE == "fewer species":
        count = model.species_count - 1
        write_potential(
            output,
            replace(
                model,
                species_count=count,
                radial_coeffs=model.radial_coeffs[:count, :count],
                species_coeffs=model.species_coeffs[:count],
            ),
        )


def write(output, configurations):
    """Six decimals, and pieces by rank, as MLIP-3's MPI build writes them."""
    rounded = [replace(c, positions=np.round(c.positions, 6)) for c in configurations]
    if MODE == "nan":
        rounded[0] = replace(rounded[0], forces=rounded[0].positions * np.nan, grades=None)
    if MODE == "empty":
        rounded = []
    if not RANKS:
        write_cfg(output, rounded)
        if MODE == "truncated":
            text = Path(output).read_text()
            Path(output).write_text(text[: len(text) // 2])
        return
    for rank in range(RANKS):
        piece = rounded[rank::RANKS]
        if MODE == "short piece" and rank == 0:
            piece = piece[:-1]
        if not (MODE == "lost piece" and rank == 0):
            write_cfg(f"{output}.{rank}", piece)


def evaluate(potential, structures, output):
    given = read_cfg(structures)
    found = Engine(read_potential(potential)).evaluate(given)
    if MODE == "silent":
        return 0
    write(
        output,
        [
            replace(c, energy=None if MODE == "no energy" else e.energy, forces=e.forces)
            for c, e in zip(given, found, strict=True)
        ],
    )
    print("EFS calculation complete")
    return 0


def grade(structures, output):
    write(
        output,
        [
            replace(c, grades=np.full(len(c), 1.0 + k), features={"MV_grade": f"{1 + k}"})
            for k, c in enumerate(read_cfg(structures))
        ],
    )
    return 0


def select(candidates, output, two):
    chosen = read_cfg(candidates)[:2]
    write_cfg(output, chosen[: 1 if MODE == "truncated" else 2])
    words = "TS increased by 2 configs" if two else "Training set was increased by 2 configurations"
    if MODE != "silent":
        print(words)
    return 0


def main():
    files = [word for word in sys.argv[2:] if not word.startswith("--")]
    options = dict(word[2:].partition("=")[::2] for word in sys.argv[2:] if word.startswith("--"))
    verb, two = sys.argv[1], "-" in sys.argv[1] or "trained-pot-name" in options
    Path("rubbish_beside").write_text("left about")
    print("called:", *sys.argv[1:])
    if verb == "train":
        return train(*files, options["trained-pot-name" if two else "save_to"], two)
    if verb in {"check_errors", "calc-errors"}:
        if MODE != "silent":
            print(report(read_potential(files[0]), read_cfg(files[1])))
        return 0
    if verb in {"calculate_efs", "calc-efs"}:
        return evaluate(files[0], files[1], files[2] if two else options["output_filename"])
    if verb in {"calculate_grade", "calc-grade"}:
        return grade(files[-2], files[-1])
    if verb in {"select_add", "select-add"}:
        return select(files[2], files[3], two)
    return 0


sys.exit(main())
