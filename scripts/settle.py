"""Structures relaxed and warmed by the reference; files: see rules/settle.smk."""

from pathlib import Path

from atomistics import dataset
from atomistics.analysis.observables import density
from atomistics.settling import as_it_stands, settle
from campaign.files import write_text
from campaign.job import SETTLED, Job
from campaign.results import SettledStructure
from campaign.script import Items, command_line
from campaign.spread import ItemCost, spread
from campaign.starts import effort


def run(items: Items, output: Path) -> None:
    """Every structure of the chunk, from its file to the start of its MD."""
    job = Job()
    built = {name: job.atoms(name) for name in items}

    def one(name: str, target: Path) -> ItemCost:
        atoms, item = built[name], items[name]
        settled = (
            as_it_stands(atoms, job.reference())
            if job.structure(name).single_point
            else settle(
                atoms,
                job.reference(),
                job.campaign.task.temperature,
                job.config.md.timestep,
                item["seed"],
                fixed_cell=job.structure(name).fixed_cell is True,
                effort=effort(job.config.settle, item["held_out"]),
            )
        )
        first, last = settled.frames[0], settled.frames[-1]
        bulk = bool(atoms.pbc.all())
        report = SettledStructure(
            structure=name,
            subsystem=job.structure(name).subsystem,
            status="ok",
            crystal=settled.crystal,
            reference_calls=settled.calls,
            frames=len(settled.frames),
            temperature=job.campaign.task.temperature,
            force=float(abs(first.get_forces()).max()),
            gained=settled.gained,
            built_density=density(atoms) if bulk else None,
            relaxed_density=density(settled.relaxed) if bulk else None,
            density=density(last) if bulk else None,
        )
        write_text(SETTLED / f"{name}.report.json", report.model_dump_json() + "\n")
        for frame in settled.frames:
            frame.info |= {"source": f"{name}-settle", "temperature": report.temperature}
        dataset.write(target, settled.frames)
        return ItemCost(reference_calls=settled.calls, md_steps=0)

    spread(items, one, SETTLED, ".h5", output)


def main() -> None:
    """The command of the rule."""
    command_line(run)


if __name__ == "__main__":
    main()
