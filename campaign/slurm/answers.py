"""What SLURM's commands say, by what is to be done about it.

Sites word their refusals in submit filters of their own, and SLURM's last line ("Unspecified
error") often says nothing. So all lines count, and a refusal is one of four kinds: it passes by
itself, we can submit otherwise, a person must see to it, or nobody knows it, which is no reason to
lose an action within seconds.
"""

import re
from dataclasses import dataclass
from typing import Literal

RefusalKind = Literal["busy", "away", "mendable", "person", "unknown"]
Mend = Literal["memory per core", "no memory", "script on stdin"]

PREFIX = re.compile(
    r"^(?:(?:sbatch|srun|salloc):\s*)?(?:(?:error|fatal|warning):\s*)?(?:lua:\s*)?", re.I
)
FAILED = re.compile(
    r"^(?:Batch job submission failed|allocation failure|"
    r"Unable to allocate resources):\s*",
    re.I,
)
HOLLOW = re.compile(
    r"^(?:Unspecified error|cli_filter plugin terminated with error|"
    r"(?:info|debug)\b.*|No error|-+|\W*)$",
    re.I,
)

# one job asks for more than it may ever get; says more than the general "QOS policy" after it
TOO_MUCH = re.compile(
    r"(?:Assoc|QOS)(?:Max|Min|Grp)(?!\w*(?:Submit|Jobs))\w+|MaxMem\w+|PartitionTimeLimit"
)
# SLURM's own last line of many refusals; a submit filter's line before it says which
GENERAL = re.compile(r"Job violates accounting(?:/QOS)? policy\b.*", re.IGNORECASE)
# how many jobs may be queued or submitted in an hour: passes as jobs end
BUSY = re.compile(
    r"SubmitJob|(?:Max|Grp)Jobs|job submit limit|(?:job|submi\w+)s? (?:count )?limit"
    r"|limit\w* .{0,30}reached"
    r"|too many (?:\w+ )*(?:jobs|requests|submissions)|rate.?limit|(?:quota|limit) of .{0,20}jobs"
    r"|maximum (?:number )?(?:of )?(?:\w+ ){0,2}jobs|temporarily unable|try again|MaxJobCount"
    r"|throttl|slow down|please wait|not usable now|\bdrain|higher priority partitions"
    r"|DOWN, DRAINED|in DOWN state|(?:is|are) (?:busy|in use|still running)\b|queue is full"
    r"|licenses? .{0,20}unavailable|submissions? (?:\w+ )?disabled|presently disabled"
    r"|already (?:have|has) \d+ (?:\w+ )?jobs",
    re.IGNORECASE,
)
# the controller or the way to it: an outage, a restart, an upgrade
AWAY = re.compile(
    r"unable to contact|timed out|connection (?:refused|reset|closed|lost)|not connected"
    r"|unexpected message|zero bytes|in standby|(?:temporarily|currently) unavailable"
    r"|protocol authentication|munge|credential|SlurmUser|configuration (?:file|source)"
    r"|no route to host|network is|communication|incompatible versions|broken pipe|slurmdbd"
    r"|i/o error|(?:is|are|now) down|maintenance|persistent connection|allocate memory"
    r"|message (?:send|receive) failure|(?:insane|zero length|entire) message|NodeName"
    r"|connection (?:error|failure)|than data received|stale file"
    r"|host name|name resolution|configless",
    re.IGNORECASE,
)
PER_CORE = re.compile(r"(?:memory by node|--mem\b(?!-per)).*--mem-per-cpu|use --mem-per-cpu", re.I)
NO_MEMORY = re.compile(
    r"(?:cannot|can't|not|never|no need to)\b.{0,60}\b(?:request|specify|ask|set)\w*\b.{0,20}mem"
    r"|memory is (?:automatically|always) (?:set|assigned)|(?:--mem\b|memory).{0,40}"
    r"(?:not (?:allowed|permitted|supported)|forbidden|disabled)",
    re.IGNORECASE,
)
TOO_LONG = re.compile(
    r"argument list too long|(?:script|line|pathname).{0,60}too (?:long|large)", re.I
)
PERSON = re.compile(
    r"invalid|must (?:specify|be|set|provide|request)|specify an?\b"
    r"|not (?:allowed|permitted|active|in)\b"
    r"|permi(?:t|ssion)|denied|forbidden|not available|unauthori[sz]ed|expired|exceed|insufficient"
    r"|unrecogni[sz]ed|unknown|does not exist|no such|not found|more processors"
    r"|can ?not be satisfied"
    r"|mutually exclusive|policy|budget|balance|allocation|group|needs an?\b|dependency problem"
    r"|not supported|quota|breached|no (?:account|partition|project)|needs to be|only batch jobs"
    r"|does not look like|unable to open file|choose an?\b|ran out|used \d+ ?%",
    re.IGNORECASE,
)
HELD = re.compile(r"JobHeld(?:User|Admin)|job_?requeued_?in_?held_?state", re.IGNORECASE)
# what `squeue` gives as the reason of a job that waits for nothing that will ever come; SLURM puts
# blanks or underscores between the words of some
NEVER_STARTS = re.compile(
    r"PartitionNodeLimit|PartitionTimeLimit|PartitionConfig|BadConstraints|AccountNotAllowed"
    r"|(?:QOS|Partition)NotAllowed|Invalid(?:Account|QOS)|DependencyNeverSatisfied"
    r"|JobHoldMaxRequeue|(?:Assoc|QOS)Max\w*PerJob\w*|(?:Assoc|QOS)Min\w+|MaxMemPerLimit"
    r"|ReservationDeleted"
    r"|JobLaunchFailure|\w*requeued_?held",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Refusal:
    """Why SLURM did not take a job."""

    kind: RefusalKind
    reason: str
    mend: Mend | None = None


def reason_of(answer: str) -> str:
    """What a command that failed had to say, in one line: the site's own words before SLURM's."""
    lines = [PREFIX.sub("", line.strip()).strip() for line in answer.splitlines()]
    lines = [FAILED.sub("", line) for line in lines if line]
    telling = [line for line in dict.fromkeys(lines) if not HOLLOW.match(line)]
    return "; ".join(telling or lines or ["no reason given"])[:500]


def refusal(answer: str) -> Refusal:
    """What is to be done about an answer of `sbatch` that is no job."""
    reason = reason_of(answer)
    own = "; ".join(line for line in reason.split("; ") if not GENERAL.match(line))
    if own and own != reason and (by_site := _judged(own, reason)).kind != "unknown":
        return by_site
    return _judged(reason, reason)


def _judged(words: str, reason: str) -> Refusal:
    """What the words of a reason say is to be done."""
    mends: tuple[tuple[re.Pattern[str], Mend], ...] = (
        (PER_CORE, "memory per core"),
        (NO_MEMORY, "no memory"),
        (TOO_LONG, "script on stdin"),
    )
    for pattern, mend in mends:
        if pattern.search(words):
            return Refusal("mendable", reason, mend)
    if TOO_MUCH.search(words) and not BUSY.search(TOO_MUCH.sub("", words)):
        return Refusal("person", reason)
    kinds: tuple[tuple[re.Pattern[str], RefusalKind], ...] = (
        (BUSY, "busy"),
        (AWAY, "away"),
        (PERSON, "person"),
    )
    matching = (kind for pattern, kind in kinds if pattern.search(words))
    return Refusal(next(matching, "unknown"), reason)


def never_starts(reason: str) -> bool:
    """Whether a job waits for what will not come, whatever else happens on the cluster."""
    return NEVER_STARTS.fullmatch(_joined(reason)) is not None


def held(reason: str) -> bool:
    """Whether a person, user or administrator, holds a job: they may release it."""
    return HELD.fullmatch(_joined(reason)) is not None


def _joined(reason: str) -> str:
    return "_".join(reason.strip().strip("()").split())
