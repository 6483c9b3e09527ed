"""Structures relaxed and warmed by the reference or the explorer; files: see rules/settle.smk."""

from pathlib import Path

from ase import Atoms

from atomistics import dataset
from atomistics.analysis.observables import density
from atomistics.reference.counting import CountingCalculator
from atomistics.settling import Settled, as_it_stands, settle
from campaign.files import write_text
from campaign.job import SETTLED, Job, billed
from campaign.results import SettledStructure
from campaign.script import Items, command_line
from campaign.spread import ItemCost, spread
from campaign.starts import effort


def run(items: Items, output: Path) -> None:
    """Every structure of the chunk, from its file to the start of its MD."""
    job = Job()
    whose = "explorer" if job.config.explorer else "reference"
    built = {name: job.atoms(name) for name in items}

    def one(name: str, target: Path) -> ItemCost:
        atoms, item = built[name], items[name]
        counting = CountingCalculator(job.explorer() if job.config.explorer else job.reference())
        with billed(counting, whose):
            found = (
                as_it_stands(atoms, counting)
                if job.structure(name).single_point
                else settle(
                    atoms,
                    counting,
                    job.campaign.task.temperature,
                    job.config.md.timestep,
                    item["seed"],
                    fixed_cell=job.structure(name).fixed_cell is True,
                    effort=effort(job.config.settle, item["held_out"]),
                )
            )
        paid = {f"{whose}_calls": found.calls}
        report = report_of(job, atoms, found, {"reference_calls": 0, **paid})
        write_text(SETTLED / f"{name}.report.json", report.model_dump_json() + "\n")
        for frame in found.frames:
            frame.info |= {"source": f"{name}-settle", "temperature": report.temperature}
        dataset.write(target, found.frames)
        return ItemCost(**paid)

    spread(items, one, SETTLED, ".h5", output)


def report_of(job: Job, atoms: Atoms, found: Settled, paid: dict[str, int]) -> SettledStructure:
    """What came of the settling of `atoms`, as they were built."""
    first, last = found.frames[0], found.frames[-1]
    bulk, name = bool(atoms.pbc.all()), atoms.info["structure"]
    return SettledStructure(
        structure=name,
        subsystem=job.structure(name).subsystem,
        status="ok",
        crystal=found.crystal,
        **paid,
        frames=len(found.frames),
        temperature=job.campaign.task.temperature,
        force=float(abs(first.get_forces()).max()),
        gained=found.gained,
        built_density=density(atoms) if bulk else None,
        relaxed_density=density(found.relaxed) if bulk else None,
        density=density(last) if bulk else None,
    )


def main() -> None:
    """The command of the rule."""
    command_line(run)


if __name__ == "__main__":
    main()
