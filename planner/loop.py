"""`planner run`: next, audit, snakemake, and again until the campaign ends."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from planner.approval import require_approved
from planner.audit import audit, last_line, render, snakemake
from planner.campaign import Campaign
from planner.decide import next_plan
from planner.errors import UserError
from planner.files import write_text
from planner.lock import locked, note_child
from planner.plan import Plan
from planner.workflow import jobs

STEP = re.compile(r"^(\d+) of (\d+) steps")


def run(folder: Path, profile: str | None, say: Callable[[str], None]) -> Campaign:
    """Carry the campaign on to its verdict; every stop before it is a UserError."""
    with locked(folder, "planner run") as lock:
        while True:
            campaign = Campaign.at(folder)
            if campaign.pending is None and campaign.state().verdict:
                return campaign
            plan = next_plan(campaign)
            seen = audit(campaign)
            write_text(campaign.iteration(plan.iteration) / "audit.json", seen.as_json() + "\n")
            say(render(seen, campaign.config.limits))
            require_approved(campaign, plan)
            carry_out(campaign, plan, lock, profile, say)


def carry_out(
    campaign: Campaign, plan: Plan, lock: Path, profile: str | None, say: Callable[[str], None]
) -> None:
    """Run the pending iteration until it is sealed; lost jobs are written off, not waited for."""
    for attempt in (1, 2):
        reason = _snakemake(campaign, plan, lock, profile, say)
        if campaign.state_file(plan.iteration).is_file():
            return
        if attempt == 1 and not _write_off(campaign, plan, say):
            break
    log = campaign.iteration(plan.iteration) / "snakemake.log"
    raise UserError(f"{log}: iteration {plan.iteration} ({plan.action}) failed: {reason}")


def _snakemake(
    campaign: Campaign, plan: Plan, lock: Path, profile: str | None, say: Callable[[str], None]
) -> str:
    folder = campaign.iteration(plan.iteration)
    command = [*snakemake(), "--nolock", "--rerun-incomplete", "--keep-going"]
    command += ["--profile", profile] if profile else []
    meter = Meter(campaign, plan, say)
    lines = []
    with (folder / "snakemake.log").open("a", encoding="utf-8") as log:
        child = subprocess.Popen(
            command,
            cwd=campaign.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        note_child(lock, child.pid)
        try:
            for line in child.stdout or ():
                log.write(line)
                lines.append(line)
                if step := STEP.match(line):
                    meter.show(int(step[1]), int(step[2]))
            child.wait()
        except BaseException:
            _interrupt(child)
            raise
    return _cause(folder, lines) if child.returncode else ""


def _interrupt(child: subprocess.Popen[str]) -> None:
    """Let Snakemake cancel its jobs; it is killed when it has not done so in a minute."""
    child.send_signal(2)
    try:
        child.wait(timeout=60)
    except subprocess.TimeoutExpired:
        child.kill()


def _cause(folder: Path, lines: list[str]) -> str:
    logs = re.findall(r"^\s+log: (\S+)", "".join(lines), re.MULTILINE)
    for name in logs:
        path = folder / name
        if path.is_file() and (text := path.read_text(errors="replace")).strip():
            return f"{name}: {last_line(text)}"
    return last_line("".join(lines))


def _write_off(campaign: Campaign, plan: Plan, say: Callable[[str], None]) -> bool:
    """Close the packs whose job was lost, if any pack came through; True when there were some.

    The items a lost job had finished stand on disk and count; the rest is reported as `lost`.
    """
    table = jobs(campaign.folder)
    packs = {Path(f"{plan.action}/packs/{n}.json"): json.loads(t) for n, t in
             table.packs[plan.action].items()}  # fmt: skip
    missing = {path: items for path, items in packs.items() if not (table.folder / path).is_file()}
    if not missing or len(missing) == len(packs):
        return False
    for path, items in missing.items():
        record = {"items": sorted(items), "lost": True}
        write_text(table.folder / path, json.dumps(record) + "\n")
    say(f"  {len(missing)} of {len(packs)} jobs were lost; what they had finished is kept")
    return True


class Meter:
    """One line of progress: jobs, labels, core-minutes, time left for this action."""

    def __init__(self, campaign: Campaign, plan: Plan, say: Callable[[str], None]) -> None:
        self.plan, self.say, self.began = plan, say, time.monotonic()
        self.labels = campaign.state().spent.labels
        self.folder = campaign.iteration(plan.iteration)
        self.core_seconds = campaign.core_seconds()

    def show(self, done: int, total: int) -> None:
        """Say how far the action is."""
        elapsed = time.monotonic() - self.began
        left = elapsed * (total - done) / max(done, 1)
        costs = [
            json.loads(p.read_text())
            for p in self.folder.glob(f"{self.plan.action}/**/*.cost.json")
        ]
        minutes = (self.core_seconds + sum(c["core_seconds"] for c in costs)) / 60
        bought = len(list(self.folder.glob("select_data/labels/*.cost.json")))
        self.say(
            f"  [{self.plan.iteration:>3} {self.plan.action}] {done}/{total} jobs,"
            f" {self.labels + bought} labels, {minutes:.1f} core-min,"
            f" about {left / 60:.1f} min left in this action"
        )


def to_terminal(line: str) -> None:
    """Progress overwrites itself on a terminal and is a line of its own elsewhere."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
