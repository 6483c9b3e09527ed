"""reference_calc: trajectories kept, ranges true to them, a failure its own, nothing run twice."""

import re

import h5py
import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.calculators.calculator import SCFError
from ase.calculators.emt import EMT
from ase.io import read, write

from atomistics import dataset
from campaign.actions.reference_calc import ReferenceCalc
from tests.actions.conftest import HELD_OUT, Bench, Reference, structure

CM3 = 1.66053906892  # g/cm3 of 1 u/Å^3


def plan(**changes: object) -> ReferenceCalc:
    given = {
        "structures": list(HELD_OUT),
        "temperature": 300,
        "ensemble": "npt",
        "steps": 18,
        "interval": 3,
        "seed": 11,
    }
    return ReferenceCalc(**given | changes)


def run(bench: Bench) -> None:
    bench.on_items("run")


def collect(bench: Bench) -> None:
    bench.call("collect")


def test_ranges_are_those_of_the_kept_trajectory(new: Bench) -> None:
    new.begin(plan())
    run(new)
    collect(new)
    result = new.result()
    assert [r.structure for r in result.structures] == sorted(HELD_OUT)
    for seen in result.structures:
        with h5py.File(new.here / f"reference_calc/runs/{seen.structure}.h5") as file:
            cells, energies = file["cell"][:], file["energy"][:]
            positions = file["positions"][:].reshape(len(cells), -1, 3)
        assert seen.frames == len(cells) == 18 // 3
        masses = structure(new.folder, seen.structure).get_masses().sum()
        density = masses / np.abs(np.linalg.det(cells)) * CM3
        late = slice(len(cells) // 3, None)
        assert seen.density.low == pytest.approx(density[late].min(), rel=1e-6)
        assert seen.density.high == pytest.approx(density[late].max(), rel=1e-6)
        assert seen.density.high > seen.density.low, "the cell must move in npt"
        per_atom = energies / positions.shape[1]
        assert seen.energy.low == pytest.approx(per_atom[late].min())
        assert seen.energy.high == pytest.approx(per_atom[late].max())
        shortest = []
        for cell, at in zip(cells, positions, strict=True):
            distances = Atoms(positions=at, cell=cell, pbc=True).get_all_distances(mic=True)
            shortest.append(distances[np.triu_indices(len(at), 1)].min())
        assert seen.min_distance == pytest.approx(min(shortest))
        assert seen.subsystem == HELD_OUT[seen.structure]
    assert result.reference_calls == 2 * 19
    assert result.md_steps == 2 * 18


def test_every_kept_frame_carries_the_reference_s_label_and_the_protocol(new: Bench) -> None:
    new.begin(plan(temperature=250, ensemble="nvt"))
    run(new)
    frames = dataset.read(new.here / "reference_calc/runs/alloy_held.h5")
    assert [a.info["step"] for a in frames] == [3, 6, 9, 12, 15, 18]
    for atoms in frames:
        fresh = atoms.copy()
        fresh.calc = EMT()
        assert atoms.get_potential_energy() == pytest.approx(fresh.get_potential_energy())
        assert np.allclose(atoms.get_forces(), fresh.get_forces(), atol=1e-9)
        assert np.allclose(atoms.get_stress(), fresh.get_stress(), atol=1e-9)
        said = {
            key: atoms.info[key] for key in ("ensemble", "temperature", "timestep", "structure")
        }
        assert said == {
            "ensemble": "nvt",
            "temperature": 250,
            "timestep": 4.0,
            "structure": "alloy_held",
        }


def test_another_seed_gives_another_trajectory(new: Bench) -> None:
    ends = []
    for seed in (11, 11, 12):
        new.begin(plan(structures=["cu_held"], steps=4, interval=2, seed=seed))
        run(new)
        path = new.here / "reference_calc/runs/cu_held.h5"
        ends.append(dataset.read(path)[-1].positions)
        for made in path.parent.iterdir():
            made.unlink()
    assert np.array_equal(ends[0], ends[1])
    assert not np.allclose(ends[0], ends[2], atol=1e-3)


def test_a_structure_that_fails_is_classed_and_the_others_go_on(
    new: Bench, reference: Reference
) -> None:
    reference.fail = lambda atoms, number: (
        SCFError("no convergence") if "Ag" in atoms.symbols and number % 5 == 0 else None
    )
    new.begin(plan())
    run(new)
    collect(new)
    bad, good = new.result().structures
    assert (bad.structure, bad.status, bad.failure) == ("alloy_held", "failed", "calculator")
    assert bad.density is bad.energy is bad.min_distance is None
    assert (good.structure, good.status) == ("cu_held", "ok")
    assert new.result().reference_calls == reference.calls, "calls of the failure are paid too"
    new.finalize()
    assert new.campaign.state().history[-1].outcome == "partial"


def test_what_is_on_disk_is_not_run_again(new: Bench, reference: Reference) -> None:
    new.begin(plan())
    run(new)
    files = sorted((new.here / "reference_calc/runs").iterdir())
    before, paid = [p.read_bytes() for p in files], reference.calls
    run(new)
    assert reference.calls == paid
    assert [p.read_bytes() for p in files] == before
    for path in (new.here / "reference_calc/runs").glob("cu_held.*"):
        path.unlink()
    run(new)
    assert reference.calls == paid + 19
    assert [p.read_bytes() for p in files if p.suffix == ".h5"] == [
        b for p, b in zip(files, before, strict=True) if p.suffix == ".h5"
    ]


def test_a_molecule_has_no_density_and_no_barostat(new: Bench) -> None:
    cluster = Atoms("Cu4", [[0, 0, 0], [2.4, 0, 0], [0, 2.4, 0], [0, 0, 2.4]])
    cluster.center(vacuum=4.0)
    path = new.folder / "structures/cu_held.extxyz"
    write(path, cluster)
    index = new.folder / "structures/index.yaml"
    entries = yaml.safe_load(index.read_text())
    for entry in entries:
        entry.pop("sha256")
        entry["fixed_cell"] = True
    index.write_text(yaml.safe_dump(entries))
    new.begin(plan(structures=["cu_held"], ensemble="npt"))
    run(new)
    collect(new)
    (seen,) = new.result().structures
    assert seen.status == "ok"
    assert seen.density is None
    assert 1.5 < seen.min_distance < 3.0


@pytest.mark.parametrize("layers", [1, 2])
def test_each_axis_of_a_stack_breathes_by_its_own_stress(new: Bench, layers: int) -> None:
    """In a cell that keeps its shape, a liquid that contracts presses the solid beside it."""
    path = new.folder / "structures/cu_held.extxyz"
    atoms = read(path)
    atoms.set_array("layer", np.arange(len(atoms)) * layers // len(atoms))
    atoms.info["layers"] = " ".join(["lower", "upper"][:layers])
    write(path, atoms)
    index = new.folder / "structures/index.yaml"
    entries = yaml.safe_load(index.read_text())
    for entry in entries:
        entry.pop("sha256")
    index.write_text(yaml.safe_dump(entries))
    new.begin(plan(structures=["cu_held"], ensemble="npt"))
    run(new)
    frames = dataset.read(new.here / "reference_calc/runs/cu_held.h5")
    shapes = np.array([a.cell.lengths() / atoms.cell.lengths() for a in frames])
    assert (np.ptp(shapes, axis=1).max() > 1e-6) == (layers == 2)
    assert layers == 1 or np.ptp(shapes[:, :2]) == 0
    assert {a.info["barostat"] for a in frames} == {"isotropic" if layers == 1 else "height"}


def test_an_item_without_a_trace_is_lost(new: Bench) -> None:
    new.begin(plan())
    new.lose_every_job()
    collect(new)
    assert {r.failure for r in new.result().structures} == {"lost"}
    assert new.result().reference_calls == 0


@pytest.mark.parametrize(
    ("damage", "said"),
    [("half", "not a structure"), ("gone", "is missing"), ("renamed", "no structure cu_held")],
)
def test_a_bad_structure_is_one_line_and_goes_on_once_mended(
    new: Bench, damage: str, said: str
) -> None:
    new.begin(plan(ensemble="nvt", steps=4, interval=2))
    path, index = (new.folder / "structures" / n for n in ("cu_held.extxyz", "index.yaml"))
    sound = path.read_text(), index.read_text()
    if damage == "half":
        path.write_text(sound[0][:300])
        index.write_text(re.sub(r"  sha256: .*\n", "", sound[1]))
    elif damage == "gone":
        path.unlink()
    else:
        index.write_text(sound[1].replace("id: cu_held", "id: other"))
    assert said in new.fails("run")
    assert not (new.here / "reference_calc").exists(), "nothing was run or written off"
    path.write_text(sound[0])
    index.write_text(sound[1])
    new.call("run")
    collect(new)
    assert {r.status for r in new.result().structures} == {"ok"}
