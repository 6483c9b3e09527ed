"""settle: a crystal to its reference's lattice, a packing without strains, both on record."""

import json

import numpy as np
import pytest
from ase import Atoms, io
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from atomistics import dataset
from atomistics.md import plain as md
from atomistics.md.steady import SteadyState
from atomistics.settling import STRIDE, settle
from atomistics.settling_effort import MOST_KEPT, Effort, most_kept
from atomistics.structure_index import Structure, read_index, write_index
from campaign.actions.sample import Sample, SampleGroup
from campaign.calls import calls
from campaign.cost import cost, settling_calls
from campaign.gates import check
from campaign.integrity import products
from campaign.starts import single_points
from campaign.workflow import starts
from scripts import settle as script
from tests.actions.conftest import Bench

AS_MADE = {"crystal": 15, "packing": 150, "warm": 60, "warm_packing": 100}
ARGON = {"sigma": 3.4, "epsilon": 0.0104, "rc": 8.5}


def packing(seed: int) -> Atoms:
    """32 argon atoms at random places at least 2.6 Å apart, in a box that would hold a liquid."""
    generator = np.random.default_rng(seed)
    atoms = Atoms(cell=[12.0] * 3, pbc=True)
    while len(atoms) < 32:
        trial = atoms + Atoms("Ar", [generator.uniform(0, 12, 3)], cell=atoms.cell, pbc=True)
        near = trial.get_all_distances(mic=True)[-1, :-1]
        if not len(near) or near.min() > 2.6:
            atoms = trial
    return atoms


@pytest.mark.parametrize("scale", [0.97, 1.04])
def test_a_crystal_goes_to_the_lattice_constant_of_its_reference(scale: float) -> None:
    perfect = bulk("Cu", "fcc", a=3.6, cubic=True).repeat(2)
    found = settle(_scaled(perfect, scale), EMT(), 300, 5.0, 1)
    assert found.crystal
    assert found.calls <= 17
    # EMT's copper: minimum of the energy over the lattice constant
    lattices = np.linspace(3.5, 3.7, 201)
    energies = [_energy(a) for a in lattices]
    assert found.frames[-1].cell.lengths() / 2 == pytest.approx(
        lattices[int(np.argmin(energies))], abs=0.01
    )


def test_a_fixed_cell_stays() -> None:
    strained = _scaled(bulk("Cu", "fcc", a=3.6, cubic=True).repeat(2), 1.04)
    found = settle(strained, EMT(), 300, 5.0, 1, fixed_cell=True)
    assert found.frames[-1].cell.array == pytest.approx(strained.cell.array)


def test_a_calm_packing_keeps_its_density() -> None:
    """Argon that is pressed, its forces small: a liquid does not seek a lattice of its own."""
    gas = Atoms("Ar8", cell=[7, 7, 7], pbc=True)
    gas.set_scaled_positions([[x, y, z] for x in (0, 0.5) for y in (0, 0.5) for z in (0, 0.5)])
    gas.rattle(0.05, seed=2)
    calm = LennardJones(sigma=3.4, epsilon=0.0104, rc=9.0, smooth=True)
    for packed in (True, False):
        settled = settle(gas, calm, 100.0, 2.0, 1, effort=Effort(packed=packed))
        assert settled.crystal is not packed
        assert (settled.frames[-1].get_volume() == pytest.approx(7**3)) == packed


def test_a_packing_no_longer_heats_and_no_step_was_long() -> None:
    atoms, calculator = packing(3), LennardJones(**ARGON)
    raw = md.run(atoms, calculator, md.Protocol("nvt", 90, 200, 2.0, 10, seed=1))
    found = settle(atoms, calculator, 90, 2.0, 1)
    assert not found.crystal
    assert found.gained > 0.01
    run = md.run(found.frames[-1], calculator, md.Protocol("nvt", 90, 200, 2.0, 10, seed=1))
    hottest = [max(a.info["kelvin"] for a in outcome.frames) for outcome in (raw, run)]
    assert hottest[0] > 3 * 90, "the packing is strained, or this shows nothing"
    assert hottest[1] < 2 * 90
    ways = np.diff([a.positions for a in found.frames], axis=0)
    assert np.linalg.norm(ways, axis=-1).max() < 8 * STRIDE * 1.01


def test_large_structures_keep_fewer_frames() -> None:
    assert [most_kept(n) for n in (1, 32, 150, 300, 600, 5000)] == [40, 40, 40, 20, 10, 8]
    many = packing(3).repeat((4, 3, 1))  # 384 atoms
    few = settle(many, LennardJones(**ARGON), 90, 5.0, 1)
    assert len(few.frames) == most_kept(len(many)) < MOST_KEPT


def test_what_is_warmed_is_at_the_temperature_and_the_volume_follows() -> None:
    cold = bulk("Cu", "fcc", a=3.6, cubic=True).repeat(3)
    found = settle(cold, EMT(), 600, 2.0, 1, effort=Effort(warm=150, warm_crystal=True))
    relaxed, warm = found.relaxed, found.frames[-1]
    assert 1.005 < warm.get_volume() / relaxed.get_volume() < 1.06  # copper: 3 % at 600 K
    heat = (warm.get_potential_energy() - relaxed.get_potential_energy()) / len(warm)
    assert heat == pytest.approx(1.5 * 8.617e-5 * 600, rel=0.35)


def test_a_warm_crystal_costs_a_dozen_calls_and_each_label_differs() -> None:
    strained = _scaled(bulk("Cu", "fcc", a=3.6, cubic=True).repeat(2), 1.03)
    found = settle(strained, EMT(), 600, 2.0, 1, effort=Effort(warm_crystal=True))
    assert found.calls <= 12
    assert found.frames[0].positions == pytest.approx(strained.positions)
    heat = found.frames[-1].get_potential_energy() - found.relaxed.get_potential_energy()
    assert heat / len(strained) == pytest.approx(1.5 * 8.617e-5 * 600, rel=0.35)
    run = md.run(found.frames[-1], EMT(), md.Protocol("npt", 600, 300, 3.0, 10, seed=2))
    volumes = [a.get_volume() for a in run.frames[10:]]
    assert found.frames[-1].get_volume() == pytest.approx(np.mean(volumes), rel=0.03)


def test_a_reference_run_ends_once_it_is_steady_and_not_before() -> None:
    atoms, calculator = packing(3), LennardJones(**ARGON)
    protocol = md.Protocol("nvt", 90, 400, 2.0, 10, seed=1)
    strained = md.run(atoms, calculator, protocol, enough=SteadyState(90, 40, 10))
    start = settle(atoms, calculator, 90, 2.0, 1).frames[-1]
    calm = md.run(start, calculator, protocol, enough=SteadyState(90, 40, 10))
    assert calm.stop is None
    assert calm.steps % 10 == 0
    assert 40 <= calm.steps < 400
    assert strained.steps > 40, "a packing that heats is not steady"


def test_settled_once_and_used_by_what_follows(new: Bench) -> None:
    new.configure(settle=AS_MADE)
    section = Sample(
        method="reference",
        groups=[
            SampleGroup(subsystem="copper", structures=["cu_small"], temperatures=[], ensembles=[])
        ],
        steps=0,
        interval=1,
        compression=[1.0],
        seed=3,
    )
    plan = new.begin(section)
    items = starts(plan, new.campaign.state(), new.campaign.config)
    assert list(items) == ["cu_small"]
    with new.monkeypatch.context() as patch:
        patch.chdir(new.here)
        script.run(items, new.here / "settle/chunks/0001.json")
    new.on_items("run")
    new.call("collect", iteration=plan.iteration)
    result = new.result()
    assert [s.structure for s in result.settled] == ["cu_small"]
    frames = dataset.read(new.here / "settle/runs/cu_small.h5")
    labelled = dataset.read(new.here / "sample/dataset.h5")
    assert len(labelled) == 1 + len(frames)
    assert labelled[0].positions == pytest.approx(frames[-1].positions)
    cost = json.loads((new.here / "settle/runs/cu_small.cost.json").read_text())
    assert result.reference_calls == (calls_made := cost["reference_calls"]) + 1
    new.finalize()
    state = new.campaign.state()
    assert [s.structure for s in state.settled] == ["cu_small"]
    assert state.spent.reference_calls == result.reference_calls
    assert "settle/runs/cu_small.h5" in products(new.campaign.iteration(plan.iteration))
    paid = calls(new.campaign)
    assert paid.by_kind == {"settling": calls_made, "first data": 1}
    assert paid.a_label == pytest.approx((calls_made + 1) / (1 + len(frames)))
    assert starts(new.begin(section), state, new.campaign.config) == {}


def test_single_points_are_labelled_once_as_they_stand(new: Bench) -> None:
    new.configure(settle=AS_MADE)
    folder = new.folder / "structures"
    pair = Atoms("Cu2", [[0, 0, 0], [2.9, 0, 0]])
    pair.center(vacuum=8.0)
    io.write(folder / "dimer.extxyz", pair)
    index = read_index(folder)
    entry = next(s for s in index if s.id == "cu_small").model_dump() | {"sha256": None}
    entry |= {"id": "dimer", "file": "dimer.extxyz", "single_point": True}
    write_index(folder, [*index, Structure(**entry, folder=folder)])
    section = _sampling("cu_small")
    plan, situation = new.begin(section), new.campaign.situation()
    assert "dimer" not in situation.training("copper")
    items = {n: {"held_out": False, "seed": 0} for n in pending_single_points(new, section)}
    assert list(items) == ["dimer"]
    assert cost(plan, situation).reference_calls == 1 + 1 + settling_calls(section, situation)
    with new.monkeypatch.context() as patch:
        patch.chdir(new.here)
        script.run(items, new.here / "settle/chunks/9001.json")
    new.on_items("run")
    new.call("collect", iteration=plan.iteration)
    found = next(a for a in dataset.read(new.here / "sample/dataset.h5") if len(a) == 2)
    assert found.positions == pytest.approx(pair.positions)
    pair.calc = EMT()
    assert found.get_potential_energy() == pytest.approx(pair.get_potential_energy())
    assert new.result().reference_calls == 2
    new.finalize()
    assert pending_single_points(new, section) == []
    moved = new.begin(_sampling("dimer"))
    denied = [v.detail for v in check(moved, new.campaign.situation()) if v.verdict == "deny"]
    assert any("dimer is a single point" in line for line in denied)


def pending_single_points(new: Bench, section: Sample) -> list[str]:
    return single_points(section, new.campaign.state(), new.campaign.structures)


def _sampling(structure: str) -> Sample:
    group = SampleGroup(subsystem="copper", structures=[structure], temperatures=[], ensembles=[])
    return Sample(
        method="reference", groups=[group], steps=0, interval=1, compression=[1.0], seed=3
    )


def _scaled(atoms: Atoms, factor: float) -> Atoms:
    copy = atoms.copy()
    copy.set_cell(atoms.cell * factor, scale_atoms=True)
    return copy


def _energy(lattice: float) -> float:
    atoms = bulk("Cu", "fcc", a=lattice, cubic=True).repeat(2)
    atoms.calc = EMT()
    return atoms.get_potential_energy()
