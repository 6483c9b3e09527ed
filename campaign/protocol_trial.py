"""A few steps of every stage of a protocol, for the person who is to approve it."""

from dataclasses import dataclass
from pathlib import Path

from atomistics.md import stages
from atomistics.md.bias import require_plumed
from atomistics.md.protocol import StagedProtocol
from atomistics.reference.counting import CountingCalculator
from atomistics.reference.launching import core_seconds
from atomistics.reference.methods import label, reference_calculator
from atomistics.structure_index import read_index
from atomistics.structures import check, load
from campaign.errors import UserError
from campaign.folder import Campaign
from mtp.calculator import MTP
from mtp.formats.almtp import read_potential

SEED = 1


@dataclass(frozen=True)
class ProtocolTrial:
    """How the first steps went: reports of the stages, core-seconds a step, why it stopped."""

    stages: list[stages.StageReport]
    seconds_per_step: float
    stop: str | None
    detail: str


def trial_run(
    campaign: Campaign, protocol: StagedProtocol, structure: str, steps: int, model: str | None
) -> ProtocolTrial:
    """`steps` steps of every stage with a model of the campaign, or else with its reference."""
    require_plumed(protocol)
    index = {s.id: s for s in read_index(campaign.folder / "structures")}
    if structure not in index:
        raise UserError(f"structures/index.yaml: no structure {structure}; name one of its ids")
    atoms = load(index[structure])
    check(atoms, list(campaign.task.species), campaign.config.mlp.cutoff)
    if model:
        potential = read_potential(_model_file(campaign, model))
        counting = CountingCalculator(
            MTP(potential, species=list(campaign.task.species), grades=True)
        )
    else:
        counting = CountingCalculator(
            reference_calculator(campaign.config.reference, campaign.folder)
        )
    label(atoms, counting)  # starting a program is no part of the price of a step
    before = core_seconds()
    outcome = stages.run(atoms, counting, protocol, steps, SEED, most=steps)
    price = (core_seconds() - before) / max(1, outcome.steps)
    return ProtocolTrial(outcome.stages, price, outcome.stop, outcome.detail)


def _model_file(campaign: Campaign, model: str) -> Path:
    usable = [m.id for m in campaign.state().usable_models]
    if model not in usable:
        raise UserError(f"--model: {model}: usable are {', '.join(usable) or 'none yet'}")
    return campaign.iteration(int(model[1:])) / "train/model.almtp"
