"""Structures relaxed and warmed by the reference or the explorer; files: see rules/settle.smk."""

from dataclasses import replace
from pathlib import Path

from ase import Atoms

from atomistics import dataset
from atomistics.analysis.observables import density
from atomistics.reference.counting import CountingCalculator
from atomistics.settling import Settled, as_it_stands, settle
from campaign.actions.section import Items
from campaign.files import write_text
from campaign.job import SETTLED, Job, billed
from campaign.results import SettledStructure
from campaign.script import command_line
from campaign.spread import ItemCost, spread
from campaign.starts import effort


def run(items: Items, output: Path) -> None:
    """Every structure of the chunk, from its file to the start of its MD."""
    job = Job()
    whose = "explorer" if job.config.explorer else "reference"
    built = {name: job.atoms(name) for name in items}

    def one(name: str, target: Path) -> ItemCost:
        atoms, item, entry = built[name], items[name], job.structure(name)
        steps = effort(job.config.settle, item["held_out"])
        packed = entry.family == "molecule" and bool(atoms.pbc.all())
        counting = CountingCalculator(job.explorer() if job.config.explorer else job.reference())
        with billed(counting, whose):
            settled = (
                as_it_stands(atoms, counting)
                if entry.single_point
                else settle(
                    atoms,
                    counting,
                    job.campaign.task.temperature,
                    job.config.md.timestep,
                    item["seed"],
                    fixed_cell=entry.fixed_cell is True,
                    effort=replace(steps, packed=packed),
                )
            )
        cost = {f"{whose}_calls": settled.calls}
        report = report_of(job, atoms, settled, {"reference_calls": 0, **cost})
        write_text(SETTLED / f"{name}.report.json", report.model_dump_json() + "\n")
        for frame in settled.frames:
            frame.info |= {"source": f"{name}-settle", "temperature": report.temperature}
        dataset.write(target, settled.frames)
        return ItemCost(**cost)

    spread(items, one, SETTLED, ".h5", output)


def report_of(job: Job, atoms: Atoms, settled: Settled, cost: dict[str, int]) -> SettledStructure:
    """What came of the settling of `atoms`, as they were built."""
    first, last = settled.frames[0], settled.frames[-1]
    bulk, name = bool(atoms.pbc.all()), atoms.info["structure"]
    return SettledStructure(
        structure=name,
        subsystem=job.structure(name).subsystem,
        status="ok",
        crystal=settled.crystal,
        **cost,
        frames=len(settled.frames),
        temperature=job.campaign.task.temperature,
        force=float(abs(first.get_forces()).max()),
        gained=settled.gained,
        built_density=density(atoms) if bulk else None,
        relaxed_density=density(settled.relaxed) if bulk else None,
        density=density(last) if bulk else None,
    )


def main() -> None:
    """The command of the rule."""
    command_line(run)


if __name__ == "__main__":
    main()
