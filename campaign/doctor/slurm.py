"""`planner doctor` on a cluster: does SLURM take the jobs that slurm/profile.yaml asks for?"""

import getpass
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from campaign.doctor.finding import Finding, fail, note
from campaign.slurm.profile import RULES, Profile
from campaign.slurm.queue import PATIENCE, ask

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
    yield from _trial(profile, folder)


def _partitions() -> dict[str, dict[str, str]]:
    """Limits by partition; `*` at a name marks the default."""
    rows = [line.split("|") for line in (ask("sinfo", "-h", "-o", "%P|%a|%l|%m") or "").split("\n")]
    found: dict[str, dict[str, str]] = {}
    for name, up, limit, memory in (row for row in rows if len(row) == 4):
        known = {"up": up, "limit": limit, "memory": memory.strip("+")}
        found[name.strip("*")] = known
        if name.endswith("*"):
            found[name.strip("*")]["default"] = "yes"
    return found


def _partition(profile: Profile, rule: str, partitions: dict[str, dict[str, str]]) -> str:
    given = profile.resources(rule).get("slurm_partition")
    default = [name for name, known in partitions.items() if "default" in known]
    return str(given or (default or [""])[0])


def _asked(profile: Profile, rule: str, partitions: dict[str, dict[str, str]]) -> Iterator[Finding]:
    """What SLURM would refuse, or leave waiting for ever, of a job of this rule."""
    name, where = _partition(profile, rule, partitions), f"set slurm_partition in {profile.path}"
    if name not in partitions:
        yield fail("partition", f"{name or 'none given, and no default'}: not there", where)
        return
    known = partitions[name]
    if known["up"] != "up":
        yield fail("partition", f"{name} is {known['up']}", where)
    limit, minutes = _minutes(known["limit"]), profile.number(rule, "runtime")
    if limit and minutes and minutes > limit:
        yield fail(
            "walltime", f"{rule}: {minutes} min, but {name} allows {limit}",
            f"lower its runtime in {profile.path}, or choose another partition",
        )  # fmt: skip
    memory = profile.number(rule, "mem_mb")
    if memory and known["memory"].isdecimal() and memory > int(known["memory"]):
        yield fail(
            "memory", f"{rule}: {memory} MB, but nodes of {name} have {known['memory']}",
            f"lower its mem_mb in {profile.path}",
        )  # fmt: skip


def _minutes(limit: str) -> int | None:
    """SLURM's [days-]hours:minutes:seconds, or minutes:seconds, in minutes; None: no limit."""
    if not (found := re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", limit)):
        return None
    days, hours, minutes, _ = (int(part or 0) for part in found.groups())
    return (24 * days + hours) * 60 + minutes


def _account(profile: Profile) -> Finding:
    """The account of the profile among those of this user."""
    given = profile.resources("fit").get("slurm_account")
    listing = ask(
        "sacctmgr", "-nP", "show", "assoc", "where", "user=" + getpass.getuser(), "format=account"
    )
    known = sorted(set((listing or "").split()))
    if given and known and str(given) not in known:
        remedy = f"set slurm_account in {profile.path} to one of {', '.join(known)}"
        return fail("account", f"{given}: not among your accounts", remedy)
    if not known:
        return note("account", f"{given or 'default'}: the accounting lists none to compare with")
    return Finding("account", str(given or f"your default, of {', '.join(known)}"))


def _refused(profile: Profile) -> Iterator[Finding]:
    """What SLURM would answer to a job of each rule: `sbatch --test-only` submits nothing."""
    asked = {tuple(profile.options(rule)): rule for rule in reversed(RULES)}
    answers = {rule: _answer(list(options)) for options, rule in asked.items()}
    for rule, answer in answers.items():
        if answer:
            said = f"SLURM refuses a job of {rule} ({' '.join(profile.options(rule))}): {answer}"
            yield fail("jobs", said, f"mend its resources in {profile.path}")
    if not any(answers.values()):
        yield Finding("jobs", "SLURM would take the jobs of all rules")


def _answer(options: list[str]) -> str:
    """The last line of a refusal; empty where the job would be taken."""
    try:
        done = subprocess.run(
            ["sbatch", "--test-only", *options, "--wrap", "true"], capture_output=True, text=True,
            check=False, timeout=PATIENCE,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    lines = done.stderr.strip().splitlines() or ["no reason given"]
    return lines[-1].partition("allocation failure: ")[2] or lines[-1] if done.returncode else ""


def _memory_of_controller() -> Finding:
    """How long squeue remembers ended jobs; beyond that the accounting is asked."""
    found = re.search(r"MinJobAge\s*=\s*(\d+)", ask("scontrol", "show", "config") or "")
    age = int(found[1]) if found else 0
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
    listing = subprocess.run(
        ["srun", "--mpi=list"], capture_output=True, text=True, check=False, timeout=30
    )
    offered = re.findall(r"^\s*(pmi\w+|none|cray\w*|openmpi)\s*$", listing.stdout + listing.stderr,
                         re.MULTILINE)  # fmt: skip
    if wanted and wanted not in offered:
        remedy = f"set fit.mpi in {profile.path}"
        return fail("launcher", f"--mpi={wanted}; SLURM offers {', '.join(offered)}", remedy)
    return Finding("launcher", f"{' '.join(words)}; SLURM offers {', '.join(offered)}")


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
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=WAIT,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        yield note("trial", f"two ranks did not get to run within {WAIT} s", "the queue is long")
        return
    reports = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not reports:
        last = ([*(done.stderr or done.stdout).strip().splitlines(), "no output"])[-2:][0]
        yield fail("mpi", f"a trial of two ranks failed: {last}", f"mend fit.mpi in {profile.path}")
        return
    yield from _judged(reports, profile)


def _judged(reports: list[dict], profile: Profile) -> Iterator[Finding]:
    nodes = sorted({r["node"] for r in reports})
    if {r["size"] for r in reports} != {PROBED}:
        yield fail(
            "mpi", f"{len(reports)} ranks see {reports[0]['size']} each, not {PROBED}",
            f"fit.mpi in {profile.path} must fit the MPI library mpi4py loads"
            f" ({reports[0]['library']})",
        )  # fmt: skip
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
