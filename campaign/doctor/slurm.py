"""`planner doctor` on a cluster: does SLURM take the jobs that slurm/profile.yaml asks for?"""

import getpass
import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from atomistics.reference.catalog import Recipe, recipe_of
from campaign.doctor.finding import Finding, fail, note
from campaign.folder import Campaign
from campaign.slurm.answers import Refusal, reason_of, refusal
from campaign.slurm.profile import RULES, Profile
from campaign.slurm.queue import answered, ask

PROBED = 2  # ranks of the trial job
WAIT = 120  # seconds it may wait in the queue and run


def cluster(folder: Path) -> Iterator[Finding]:
    """One finding after the other; nothing is submitted but one trial job of two ranks."""
    if shutil.which("sinfo") is None:
        yield note("slurm", "no SLURM on this machine: campaigns run here, by `planner run`")
        return
    profile = Profile.at(folder)
    partitions = _partitions()
    if not partitions:
        yield fail("slurm", "the controller does not answer", "try `sinfo`; is SLURM_CONF set?")
        return
    yield Finding("slurm", f"answers, partitions {', '.join(partitions)}")
    if profile.keys.get("slurm-array-jobs"):
        yield fail("profile", "slurm-array-jobs loses results", f"take it out of {profile.path}")
    faults = [f for rule in RULES for f in _asked(profile, rule, partitions)]
    yield from dict.fromkeys(faults)
    if not faults:
        names = sorted({_partition(profile, rule, partitions) for rule in RULES})
        yield Finding("partition", f"{', '.join(names)}: walltimes and memory are within limits")
    account = _account(profile)
    yield account
    if not faults and account.level != "FAIL":
        yield from _refused(profile)
    yield _memory_of_controller()
    yield _launcher(profile)
    yield from _calculations(profile, recipe_of(Campaign.at(folder).config.reference))
    yield from _trial(profile, folder)


def _partitions() -> dict[str, dict[str, str]]:
    """Limits by partition; `*` at a name marks the default."""
    rows = [line.split("|") for line in (ask("sinfo", "-h", "-o", "%P|%a|%l|%m") or "").split("\n")]
    partitions: dict[str, dict[str, str]] = {}
    for name, up, limit, memory in (row for row in rows if len(row) == 4):
        limits = {"up": up, "limit": limit, "memory": memory.strip("+")}
        if name.endswith("*"):
            limits["default"] = "yes"
        partitions[name.strip("*")] = limits
    return partitions


def _partition(profile: Profile, rule: str, partitions: dict[str, dict[str, str]]) -> str:
    given = profile.resources(rule).get("slurm_partition")
    default = [name for name, limits in partitions.items() if "default" in limits]
    return str(given or (default or [""])[0])


def _asked(profile: Profile, rule: str, partitions: dict[str, dict[str, str]]) -> Iterator[Finding]:
    """What SLURM would refuse, or leave waiting for ever, of a job of this rule."""
    name, where = _partition(profile, rule, partitions), f"set slurm_partition in {profile.path}"
    if name not in partitions:
        yield fail("partition", f"{name or 'none given, and no default'}: not there", where)
        return
    limits = partitions[name]
    if limits["up"] != "up":
        yield fail("partition", f"{name} is {limits['up']}", where)
    limit, minutes = _minutes(limits["limit"]), profile.number(rule, "runtime")
    if limit and minutes and minutes > limit:
        yield fail(
            "walltime",
            f"{rule}: {minutes} min, but {name} allows {limit}",
            f"lower its runtime in {profile.path}, or choose another partition",
        )
    memory = profile.number(rule, "mem_mb")
    if memory and limits["memory"].isdecimal() and memory > int(limits["memory"]):
        yield fail(
            "memory",
            f"{rule}: {memory} MB, but nodes of {name} have {limits['memory']}",
            f"lower its mem_mb in {profile.path}",
        )


def _minutes(limit: str) -> int | None:
    """SLURM's [days-]hours:minutes:seconds, or minutes:seconds, in minutes; None: no limit."""
    if not (parts := re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", limit)):
        return None
    days, hours, minutes, _ = (int(part or 0) for part in parts.groups())
    return (24 * days + hours) * 60 + minutes


def _account(profile: Profile) -> Finding:
    """The account of the profile among those of this user; SLURM does not look at capitals."""
    given = profile.resources("fit").get("slurm_account")
    listing = ask(
        "sacctmgr", "-nP", "show", "assoc", "where", "user=" + getpass.getuser(), "format=account"
    )
    accounts = sorted({line.strip() for line in (listing or "").splitlines()} - {""})
    own = {account.casefold() for account in accounts}
    if given and accounts and str(given).strip().casefold() not in own:
        remedy = f"set slurm_account in {profile.path} to one of {', '.join(accounts)}"
        return fail("account", f"{given}: not among your accounts", remedy)
    if not accounts:
        return note("account", f"{given or 'default'}: the accounting lists none to compare with")
    return Finding("account", str(given or f"your default, of {', '.join(accounts)}"))


def _refused(profile: Profile) -> Iterator[Finding]:
    """What SLURM would answer to a job of each rule: `sbatch --test-only` submits nothing."""
    asked = {tuple(profile.options(rule)): rule for rule in reversed(RULES)}
    answers = {rule: _answer(list(options)) for options, rule in asked.items()}
    for rule, refused in answers.items():
        if refused is None:
            continue
        job = f"a job of {rule} ({' '.join(profile.options(rule))}): {refused.reason}"
        if refused.mend:
            yield note("jobs", f"SLURM refuses {job}", f"campaigns submit: {refused.mend}")
        elif refused.kind in ("busy", "away"):
            yield note("jobs", f"SLURM does not take {job}", "campaigns wait and try again")
        else:
            yield fail("jobs", f"SLURM refuses {job}", f"mend its resources in {profile.path}")
    if not any(answers.values()):
        yield Finding("jobs", "SLURM would take the jobs of all rules")


def _answer(options: list[str]) -> Refusal | None:
    """Why a job would be refused; None where it would be taken."""
    status, _, errors = answered("sbatch", "--test-only", *options, "--wrap", "true")
    return refusal(errors) if status else None


def _memory_of_controller() -> Finding:
    """How long squeue remembers ended jobs; beyond that the accounting is asked."""
    setting = re.search(r"MinJobAge\s*=\s*(\d+)", ask("scontrol", "show", "config") or "")
    age = int(setting[1]) if setting else 0
    if age >= 60:
        return Finding("follow", f"squeue remembers ended jobs for {age} s")
    if ask("sacct", "-X", "-n", "-S", "now-1hour") is not None:
        return note("follow", f"squeue remembers ended jobs for {age} s only; sacct fills in")
    return note("follow", f"MinJobAge is {age} s and sacct is silent", "jobs count by their files")


def _launcher(profile: Profile) -> Finding:
    """The PMI flavour of the fit, among those that this SLURM offers."""
    words = profile.launcher("fit")
    wanted = next((w.partition("=")[2] for w in words if w.startswith("--mpi=")), "")
    if not words or words[0] != "srun":
        return note("launcher", f"{' '.join(words) or 'none'}: not srun, so not judged")
    _, output, errors = answered("srun", "--mpi=list")
    flavour = re.compile(r"^\s*(pmi\w+|none|cray\w*|openmpi)\s*$", re.MULTILINE)
    offered = flavour.findall(output + errors)
    if wanted and wanted not in offered:
        remedy = f"set fit.mpi in {profile.path}"
        return fail("launcher", f"--mpi={wanted}; SLURM offers {', '.join(offered)}", remedy)
    return Finding("launcher", f"{' '.join(words)}; SLURM offers {', '.join(offered)}")


def _calculations(profile: Profile, reference: Recipe) -> Iterator[Finding]:
    """What a job makes of its cores where the profile launches the reference's program itself."""
    for rule in RULES:
        ranks, words = profile.number(rule, "calculation_tasks"), profile.launcher(rule)
        if not ranks:
            continue
        by_node = profile.number(rule, "tasks_per_node")
        nodes = (profile.number(rule, "nodes") or 1) if by_node else 1
        tasks = (by_node or profile.number(rule, "tasks") or 0) * nodes
        mend = f"mend {rule} in {profile.path}"
        if not words or tasks < ranks:
            lack = f"its {tasks} tasks hold none of {ranks}" if words else "no mpi starts them"
            yield fail("calculations", f"{rule}: calculation_tasks: {lack}", mend)
        elif words[0] == "srun" and not profile.number(rule, "mem_mb_per_cpu"):
            lack = "without mem_mb_per_cpu the first takes all memory of the job"
            yield fail("calculations", f"{rule}: calculation_tasks: {lack}", mend)
        elif not (reference.program or "command" in reference.options):
            alone = f"{reference.calculator} runs in one process, calculation_tasks is without use"
            yield note("calculations", f"{rule}: {alone}", mend)
        else:
            size = f"{ranks} ranks x {profile.number(rule, 'cpus_per_task') or 1} threads"
            yield Finding("calculations", f"{rule}: {tasks // ranks} at a time of {size}")


def _trial(profile: Profile, folder: Path) -> Iterator[Finding]:
    """Two ranks for a second: do they see each other, this folder, and their scratch?"""
    words = profile.launcher("fit")
    if not words or words[0] != "srun":
        return
    asked = profile.resources("fit")
    options = [f"-n{PROBED}", "--time=3", "--mem-per-cpu=600", "--job-name=mtpilot-doctor"]
    for key, flag in (("slurm_partition", "-p"), ("slurm_account", "-A")):
        options += [flag, str(asked[key])] if asked.get(key) else []
    python = shlex.join([sys.executable, "-m", "campaign.doctor.trial_rank", str(folder.resolve())])
    command = [*words, *options, "bash", "-c", f"{profile.setup}; {python}"]
    status, output, errors = answered(*command, seconds=WAIT)
    if "no answer in" in errors and not output:
        yield note("trial", f"two ranks did not get to run within {WAIT} s", "the queue is long")
        return
    reports = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    if status or not reports:
        why = f"a trial of two ranks failed: {reason_of(errors or output)}"
        yield fail("mpi", why, f"mend fit.mpi in {profile.path}")
        return
    yield from _judged(reports, profile)


def _judged(reports: list[dict], profile: Profile) -> Iterator[Finding]:
    nodes = sorted({r["node"] for r in reports})
    if {r["size"] for r in reports} != {PROBED}:
        yield fail(
            "mpi",
            f"{len(reports)} ranks see {reports[0]['size']} each, not {PROBED}",
            f"fit.mpi in {profile.path} must fit the MPI library mpi4py loads"
            f" ({reports[0]['library']})",
        )
    else:
        where = ", ".join(nodes)
        yield Finding("mpi", f"{PROBED} ranks see each other ({reports[0]['library']}) on {where}")
    unseen = sorted({r["node"] for r in reports if not r["shared"]})
    if unseen:
        remedy = "put the campaign on a file system that compute nodes share"
        yield fail("folder", f"not writable on {', '.join(unseen)}", remedy)
    elif sum(r["won"] for r in reports) != 1:
        remedy = "run one `planner run` at a time yourself, or use another file system"
        yield fail("locks", "two ranks made the same file with O_EXCL", remedy)
    else:
        yield Finding("locks", "of two ranks one gets the lock file; compute nodes see the folder")
    free = min(r["scratch_mb"] for r in reports)
    if free < 1000:
        yield fail("scratch", f"{free} MB in TMPDIR of a node", "set TMPDIR in slurm/setup.sh")
    else:
        yield Finding("scratch", f"{free} MB free in TMPDIR of the nodes")
