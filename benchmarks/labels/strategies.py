"""Ways to choose the frames of the next batch; each knows what a campaign knows by then."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.labels.informative import most_informative
from mtp.cli import main as mlp
from mtp.configuration import Configuration
from mtp.engine import Engine
from mtp.formats.almtp import write_potential
from mtp.formats.cfg import read_cfg, write_cfg
from mtp.potential import Potential

MEMBERS = 4  # of a committee, as DP-GEN's default


@dataclass(frozen=True)
class Round:
    """What is known before a batch: labelled frames, the fit to them, and all others.

    `refit` fits anew, from random coefficients of a seed, to the labelled frames.
    """

    potential: Potential
    labelled: Sequence[Configuration]
    candidates: Sequence[Configuration]
    number: int
    seed: int
    refit: Callable[[int], Potential]


def by_chance(now: Round) -> list[int]:
    """Any frames."""
    return random.Random(now.seed).sample(range(len(now.candidates)), now.number)


def evenly(now: Round) -> list[int]:
    """Every k-th frame of what is left, in the order in which runs made them."""
    return np.linspace(0, len(now.candidates) - 1, now.number).round().astype(int).tolist()


def by_error(now: Round) -> list[int]:
    """The paper's rule: all candidates get a label, those with the largest force error stay."""
    evaluations = Engine(now.potential).evaluate(now.candidates)
    errors = [
        np.linalg.norm(e.forces - c.forces, axis=1).max()
        for e, c in zip(evaluations, now.candidates, strict=True)
    ]
    return np.argsort(errors)[::-1][: now.number].tolist()


def by_committee(now: Round) -> list[int]:
    """DP-GEN's: the largest deviation of forces among fits from several random starts."""
    fits = [now.refit(1 + member) for member in range(MEMBERS)]
    forces = [[e.forces for e in Engine(fit).evaluate(now.candidates)] for fit in fits]
    spread = [np.std(frames, axis=0) for frames in zip(*forces, strict=True)]
    deviation = [np.linalg.norm(s, axis=1).max() for s in spread]
    return np.argsort(deviation)[::-1][: now.number].tolist()


def by_distance(now: Round) -> list[int]:
    """LCMD (D. Holzmueller et al., J. Mach. Learn. Res. 24, 164, 2023), training set included.

    Features: derivatives of the energy per atom by the coefficients, each scaled to its spread.
    The next frame is the farthest one in the cluster whose squared distances sum to most.
    """
    engine = Engine(now.potential)
    frames = [*now.labelled, *now.candidates]
    near = engine.neighbours(frames)
    rows = engine.site_rows(near)
    features = np.array([rows[a:b].mean(axis=0) for a, b in pairwise(near.atom_begin)])
    features /= features.std(axis=0) + 1e-12
    centres = list(range(len(now.labelled)))
    distances = np.sum((features[:, None] - features[None, centres]) ** 2, axis=2)
    nearest, least = distances.argmin(axis=1), distances.min(axis=1)
    while len(centres) < len(now.labelled) + now.number:
        sizes = np.bincount(nearest, least, minlength=len(centres))
        inside = np.where(nearest == sizes.argmax(), least, -1.0)
        inside[centres] = -1.0
        centres.append(int(inside.argmax()))
        own = np.sum((features - features[centres[-1]]) ** 2, axis=1)
        closer = own < least
        nearest[closer], least[closer] = len(centres) - 1, own[closer]
    return [place - len(now.labelled) for place in centres[len(now.labelled) :]]


def by_select_add(now: Round, *options: str) -> list[int]:
    """`mlp select_add --number`: what a user of the command gets."""
    with TemporaryDirectory() as folder:
        work = Path(folder)
        names = [str(work / name) for name in ("p.almtp", "train.cfg", "pool.cfg", "chosen.cfg")]
        write_potential(names[0], now.potential)
        write_cfg(names[1], now.labelled)
        for number, frame in enumerate(now.candidates):
            frame.features = frame.features | {"place": str(number)}
        write_cfg(names[2], now.candidates)
        if mlp(["select_add", *names, f"--number={now.number}", *options]):
            raise SystemExit(1)
        return [int(c.features["place"]) for c in read_cfg(names[3])]


def by_neighbourhoods(now: Round) -> list[int]:
    """MaxVol over environments, as campaigns have it."""
    return by_select_add(now, "--al_mode=nbh")


def by_configurations(now: Round) -> list[int]:
    """MaxVol over whole configurations, MLIP's default."""
    return by_select_add(now, "--al_mode=cfg")


def by_information(now: Round) -> list[int]:
    """The largest fall of the error to expect on all candidates."""
    return most_informative(now.potential, now.labelled, now.candidates, now.number)


STRATEGIES: dict[str, Callable[[Round], list[int]]] = {
    "random": by_chance,
    "every_kth": evenly,
    "error": by_error,
    "committee": by_committee,
    "lcmd": by_distance,
    "maxvol_nbh": by_neighbourhoods,
    "maxvol_cfg": by_configurations,
    "informative": by_information,
}
