"""What people break: one clear line, a non-zero exit, and the campaign goes on once mended."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from ase.build import bulk
from ase.io import read, write

from tests.campaign.conftest import make_source, planner
from tests.campaign.test_campaign import snakemake

Breakage = Callable[[Path], None]


def one_line(done: subprocess.CompletedProcess[str], *said: str) -> None:
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("Using workflow specific profile")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    for word in said:
        assert word in lines[0], lines[0]


def index(folder: Path, change: Callable[[list], None]) -> None:
    path = folder / "structures/index.yaml"
    entries = yaml.safe_load(path.read_text())
    change(entries)
    path.write_text(yaml.safe_dump(entries))


def drop_hash(entries: list) -> None:
    for entry in entries:
        entry.pop("sha256", None)


def missing(folder: Path) -> None:
    (folder / "structures/cu_small.extxyz").unlink()


def malformed(folder: Path) -> None:
    index(folder, drop_hash)
    (folder / "structures/cu_small.extxyz").write_text("4\nLattice=nonsense\nCu 0 0\n")


def foreign_element(folder: Path) -> None:
    index(folder, drop_hash)
    path = folder / "structures/cu_small.extxyz"
    atoms = read(path)
    atoms.symbols[0] = "Au"
    write(path, atoms)


def small_cell(folder: Path) -> None:
    index(folder, drop_hash)
    write(folder / "structures/cu_small.extxyz", bulk("Cu", a=3.6, cubic=True))


def no_held_out(folder: Path) -> None:
    index(folder, lambda entries: [e.update(held_out=False) for e in entries])


def escape(folder: Path) -> None:
    index(folder, lambda entries: entries[0].update(file="../task.yaml"))


def bad_task(folder: Path) -> None:
    task = yaml.safe_load((folder / "task.yaml").read_text())
    task["subsystems"][0]["role"] = "boss"
    (folder / "task.yaml").write_text(yaml.safe_dump(task))


def config(text: str) -> Breakage:
    return lambda folder: (folder / "config.yaml").write_text(text)


def task(**keys: object) -> Breakage:
    def change(folder: Path) -> None:
        known = yaml.safe_load((folder / "task.yaml").read_text())
        (folder / "task.yaml").write_text(yaml.safe_dump(known | keys))

    return change


@pytest.mark.parametrize(
    ("breakage", "said"),
    [
        (missing, "cu_small.extxyz"),
        (malformed, "cu_small.extxyz"),
        (foreign_element, "Au"),
        (small_cell, "cutoff"),
        (no_held_out, "held"),
        (escape, "task.yaml"),
        (bad_task, "subsystems.0.role"),
        (task(species=["Cu", "Ag", "Zz"]), "task.yaml: species: Zz: no such element"),
        (task(temperature=True), "task.yaml: temperature: true or false"),
        (config("mlp: {levle: 8}\n"), "mlp.levle"),
        (config('mlp: {command: "mlp \'open"}\n'), "command: No closing quotation"),
        (config("md: {timestep: true}\n"), "config.yaml: md.timestep: true or false"),
        (config("model_sample: {steps: 10, interval: 20}\n"), "interval: 20 is more than steps"),
        (config("reference_sample: {compression: [-1.0]}\n"), "reference_sample.compression.0"),
    ],
)
def test_init_refuses_and_leaves_nothing(tmp_path: Path, breakage: Breakage, said: str) -> None:
    source = make_source(tmp_path / "source")
    breakage(source)
    done = planner("init", str(source), str(tmp_path / "campaign"), cwd=tmp_path)
    one_line(done, said, f"planner: {source}/")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source"]


def edit(folder: Path, **keys: object) -> None:
    path = folder / "iterations/001/plan.yaml"
    plan = yaml.safe_load(path.read_text())
    plan["reference_calc"].update(keys)
    path.write_text(yaml.safe_dump(plan, sort_keys=False))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"steps": -5}, "reference_calc.steps"),
        ({"temperature": "hot"}, "reference_calc.temperature"),
        ({"structures": ["cu_held", "unobtainium"]}, "unobtainium"),
        ({"structures": ["cu_small"]}, "cu_small"),
        ({"structures": ["; rm -rf ~"]}, "reference_calc.structures"),
        ({"shell": "true"}, "reference_calc.shell"),
        ({"steps": 900000}, "reference"),
    ],
)
def test_edited_plan_is_refused_before_any_job(
    campaign: Path, keys: dict[str, object], said: str
) -> None:
    assert planner("next", cwd=campaign).returncode == 0
    sound = (campaign / "iterations/001/plan.yaml").read_text()
    edit(campaign, **keys)
    one_line(planner("audit", cwd=campaign), said) if "steps" not in keys else None
    refused = snakemake(campaign, "-n")
    assert refused.returncode != 0
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (campaign / "iterations/001/reference_calc").exists()
    (campaign / "iterations/001/plan.yaml").write_text(sound)
    assert snakemake(campaign, "-n").returncode == 0


def test_unknown_model_and_unpaid_preconditions(campaign: Path) -> None:
    folder = campaign / "iterations/001"
    assert planner("next", cwd=campaign).returncode == 0
    plan = yaml.safe_load((folder / "plan.yaml").read_text())
    plan["action"] = "model_eval"
    del plan["reference_calc"]
    plan["model_eval"] = {
        "model": "m007",
        "structures": ["cu_held"],
        "temperature": 300,
        "steps": 100,
        "interval": 10,
        "fresh_frames": 1,
        "seed": 1,
    }
    (folder / "plan.yaml").write_text(yaml.safe_dump(plan))
    done = planner("audit", cwd=campaign)
    assert done.returncode == 3
    assert "m007" in done.stderr
    one_line(snakemake(campaign, "-n"), "m007")


def test_half_written_files_are_named(campaign: Path) -> None:
    assert planner("next", cwd=campaign).returncode == 0
    assert snakemake(campaign).returncode == 0
    path = campaign / "iterations/001/state.yaml"
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    one_line(planner("next", cwd=campaign), "state.yaml")
    path.write_text(whole)
    assert planner("next", cwd=campaign).returncode == 0


def test_missing_mlp_stops_with_its_name_and_goes_on_when_mended(
    campaign: Path, finished: Path
) -> None:
    for number in ("001", "002"):
        shutil.copytree(
            finished / "iterations" / number,
            campaign / "iterations" / number,
            ignore=shutil.ignore_patterns(".snakemake"),
        )
    config = yaml.safe_load((campaign / "config.yaml").read_text())
    broken = {**config, "mlp": {**config["mlp"], "command": "/nowhere/mlp"}}
    (campaign / "config.yaml").write_text(yaml.safe_dump(broken))
    done = planner("run", cwd=campaign)
    one_line(done, "/nowhere/mlp")
    (campaign / "config.yaml").write_text(yaml.safe_dump(config))
    # what was frozen with the decision is left alone: the same decision is taken anew
    begun = campaign / "iterations/003/train"
    one_line(planner("next", "--again", cwd=campaign), f"{begun}: iteration 3 has begun")
    shutil.rmtree(begun)
    again = planner("next", "--again", cwd=campaign)
    assert again.returncode == 0, again.stderr
    done = snakemake(campaign)
    assert done.returncode == 0, done.stderr
    final = "iterations/003/state.yaml"
    assert (campaign / final).read_text() == (finished / final).read_text()


def test_full_disk_is_one_line_and_loses_nothing(campaign: Path, finished: Path) -> None:
    """A file-size limit stands for the full disk: the same OSError, without root."""
    assert planner("next", cwd=campaign).returncode == 0
    done = subprocess.run(
        ["bash", "-c", "ulimit -f 1; exec snakemake"],
        cwd=campaign,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=_with_bin(),
    )
    assert done.returncode != 0
    assert snakemake(campaign, "--unlock").returncode == 0
    assert snakemake(campaign).returncode == 0
    name = "iterations/001/state.yaml"
    assert (campaign / name).read_text() == (finished / name).read_text()


def test_a_full_disk_before_the_first_file(campaign: Path) -> None:
    command = "ulimit -f 0; trap '' XFSZ; exec planner next"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=campaign,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=_with_bin(),
    )
    one_line(done, "planner.lock: cannot be written")
    assert planner("next", cwd=campaign).returncode == 0


def _with_bin() -> dict[str, str]:
    import os
    import sys

    from tests.campaign.conftest import clean

    return clean() | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def test_commands_outside_a_campaign(tmp_path: Path) -> None:
    for command in ("next", "audit", "status", "run"):
        one_line(planner(command, cwd=tmp_path), "task.yaml")
    one_line(planner("init", "nonesuch", "x", cwd=tmp_path), "dry_ice_nitrogen")
