"""`planner doctor` on the cluster: sound as shipped, and each fault named with its remedy."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.slurm.conftest import Site


def test_sound_site_passes(site: Callable[..., Site]) -> None:
    here = site()
    assert here.run("planner", "doctor") == 0, here.said
    for what in (
        "slurm",
        "partition",
        "account",
        "jobs",
        "launcher",
        "mpi",
        "locks",
        "scratch",
        "mlp",
    ):
        assert f"ok    {what}" in here.said, here.said
    assert "2 ranks see each other" in here.said
    assert not [p for p in here.folder.iterdir() if "doctor" in p.name]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"default-resources": {"slurm_partition": "nonesuch"}}, "nonesuch: not there"),
        (
            {"default-resources": {"slurm_partition": "short"}},
            "10 min, but short allows 5; lower its runtime",
        ),
        ({"set-resources": {"label": {"mem_mb": 9_000_000}}}, "nodes of main have"),
        (
            {"set-resources": {"fit": {"tasks": 640, "nodes": 2}}},
            "--ntasks=640 --mem-per-cpu=600): Requested node configuration is not available",
        ),
        ({"default-resources": {"slurm_account": "nobody"}}, "nobody: not among your accounts"),
        ({"set-resources": {"fit": {"mpi": "srun --mpi=nonesuch"}}}, "--mpi=nonesuch"),
        ({"set-resources": {"fit": {"mpi": "srun --mpi=none"}}}, "2 ranks see 1 each, not 2"),
        ({"slurm-array-jobs": "all"}, "slurm-array-jobs loses results"),
    ],
)
def test_what_could_not_run_is_named(
    site: Callable[..., Site], changes: dict[str, Any], said: str
) -> None:
    here = site(**changes)
    assert here.run("planner", "doctor") == 1
    line = next(line for line in here.said.splitlines() if said in line)
    assert line.startswith("FAIL")
    assert "Traceback" not in here.said


def test_controller_away_is_named(site: Callable[..., Site]) -> None:
    here = site()
    here.lab.controller(up=False)
    try:
        assert here.run("planner", "doctor") == 1
    finally:
        here.lab.controller()
    assert "FAIL  slurm      the controller does not answer" in here.said
