"""An iteration without Snakemake: the scripts of its rules with the same words, one after another.

A start of Snakemake and of Python for each job takes ten times as long as the work of these small
campaigns. Results do not depend on who starts a job; `tests/llm/test_policies.py` holds it to that.
"""

import multiprocessing
import os
import runpy
import sys
from collections.abc import Iterator
from contextlib import chdir, redirect_stderr
from pathlib import Path

from campaign import TOOLKIT
from campaign import finalize as seal
from campaign.actions.model_eval import ModelEval
from campaign.actions.reference_calc import ReferenceCalc
from campaign.actions.sample import Sample
from campaign.actions.select_data import SelectData
from campaign.actions.train import Train
from campaign.errors import UserError
from campaign.folder import Campaign
from campaign.plan import Plan
from campaign.workflow import Jobs, jobs

Words = list[object]
FORK = multiprocessing.get_context("fork")


def carry_out(campaign: Campaign) -> None:
    """Run and seal the pending iteration."""
    plan, table = campaign.pending, jobs(campaign.folder)
    if plan is None:
        return
    binaries = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    os.environ |= {"OMP_NUM_THREADS": "1", "PATH": binaries}
    (table.folder / plan.action).mkdir(exist_ok=True)
    with chdir(table.folder):
        for words in _commands(plan, table):
            job = multiprocessing.get_context("fork").Process(
                target=_run, args=(plan.action, words)
            )
            job.start()  # a process of its own bills its own core-seconds
            job.join()
            if job.exitcode:
                raise UserError(f"{table.folder}: {plan.action} {words[0]}: status {job.exitcode}")
        result = Path(plan.action, "result.yaml")
        seal.seal(result, Path("ledger.jsonl"), Path("state.yaml"))


def _run(script: str, words: Words) -> None:
    sys.argv = [f"{script}.py", *map(str, words)]
    with Path(f"{script}.log").open("a", encoding="utf-8") as log, redirect_stderr(log):
        runpy.run_path(str(TOOLKIT / "scripts" / f"{script}.py"), run_name="__main__")


def _commands(plan: Plan, table: Jobs) -> Iterator[Words]:
    """What the rules of `rules/ACTION.smk` call their script with, in order."""
    state = ["--state", *(table.previous or [""])]
    model = ["--model", *(table.model or [""])]
    output = ["--output", f"{plan.action}/result.yaml"]
    leaf: Words = ["--plan", table.leaves[plan.action]]
    packs = zip(table.packs[plan.action].values(), table.files(plan.action), strict=True)
    number: Words = ["--iteration", plan.iteration]
    files = table.files(plan.action)
    section = plan.parameters
    if isinstance(section, SelectData):
        chosen, gate = ["--chosen", "select_data/chosen.h5"], ["--gate", "select_data/gate.json"]
        yield ["choose", *leaf, *state, *model, *chosen, *gate]
        for share, file in packs:
            yield ["label", "--items", share, *chosen, "--output", file]
        yield ["collect", *leaf, *number, *chosen, *gate, *model, *output]
    elif isinstance(section, Train):
        yield from _fit(section, leaf, [*number, *state], table, output)
    elif isinstance(section, (Sample, ReferenceCalc, ModelEval)):
        run, told = _md(section, state, model)
        for share, file in packs:
            yield ["run", "--items", share, *run, "--output", file]
        yield ["collect", *told, *(number if isinstance(section, Sample) else []), *output, *files]
    else:
        yield [*leaf, *(state if plan.action == "end" else []), *output]


def _md(
    section: Sample | ReferenceCalc | ModelEval, state: list[str], model: list[str]
) -> tuple[Words, Words]:
    """Words of the runs and of their collection."""
    length: Words = ["--steps", section.steps, "--interval", section.interval]
    if isinstance(section, Sample):
        series: Words = ["--compression", *section.compression, "--rattle", section.rattle]
        more: Words = ["--amplitude", section.amplitude, "--relax-steps", section.relax_steps]
        method: Words = ["--method", section.method]
        return [*method, *length, *series, *more, *state, *model], [
            *method, "--model", section.model,
        ]  # fmt: skip
    kelvin: Words = ["--temperature", section.temperature]
    if isinstance(section, ReferenceCalc):
        return ["--ensemble", section.ensemble, *kelvin, *length], kelvin
    fresh: Words = ["--fresh-frames", section.fresh_frames]
    return [*kelvin, *length, *fresh, *state, *model], ["--model", section.model, *kelvin]


def _fit(
    section: Train, leaf: Words, told: Words, table: Jobs, output: list[str]
) -> Iterator[Words]:
    data, frames = ["--data", "train/train.cfg"], ["--frames", "train/frames.json"]
    estimate, fit = ["--estimate", "train/estimate.json"], "train/fit.json"
    number, state = told[:2], told[2:]
    yield ["inputs", *leaf, *state, *data, *frames, *estimate]
    yield [
        "fit", "--launcher", "", *data, "--parent", *(table.model or [""]),
        "--start", section.start, "--effort", section.effort, "--seed", section.seed,
        *estimate, "--output", fit,
    ]  # fmt: skip
    yield ["collect", *leaf, *number, *state, "--fit", fit, *data, *frames, *output]
