"""What every action answers for: the base of the plan's sections and of the results."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Literal, NamedTuple

from atomistics.contract import Name, Strict
from atomistics.properties.asked import PropertiesAsked
from campaign.config import Config
from campaign.protocol_files import ProtocolInfo
from campaign.results import Result
from campaign.situation import Situation
from campaign.state import State


class MeasuredStructure(PropertiesAsked):
    """Properties measured on one of the structures."""

    structure: Name


def require_named(measured: Iterable[MeasuredStructure], structures: Iterable[str]) -> None:
    """ValueError unless each is one of these structures and none is named twice."""
    names = [m.structure for m in measured]
    if len(set(names)) < len(names) or not set(names) <= set(structures):
        raise ValueError("properties: each of structures at most once, and no other")


def property_calls(measured: Iterable[MeasuredStructure]) -> int:
    """Reference calls at most."""
    return sum(asked.calls() for asked in measured)


Fault = tuple[Literal["warn", "deny"], str]
Items = dict[str, dict[str, Any]]


class Cost(Strict):
    """Upper bounds; core-seconds, disk (GB) and the longest run (s) are estimates of them."""

    reference_calls: int = 0
    explorer_calls: int = 0
    labels: int = 0
    md_steps: int = 0
    runs: int = 0
    snapshots: int = 0
    core_seconds: float = 0.0
    disk: float = 0.0
    longest_run: float = 0.0


class Change(NamedTuple):
    """A state with a result worked into it, how the action went, and a line for people."""

    state: State
    outcome: Literal["ok", "partial", "failed"]
    note: str


class Section(Strict):
    """Parameters of an action; what is not overridden holds of an action without jobs or cost.

    `held_out`: structures it names must be held out (else they must not be).
    `excuses_repetition`: after it, the same plan as before may see something new.
    `always_asks`: in approval mode auto-cheap it is never cheap enough.
    """

    result: ClassVar[type[Result]]
    held_out: ClassVar[bool] = False
    excuses_repetition: ClassVar[bool] = False
    always_asks: ClassVar[bool] = False

    def argument(self) -> str:
        """The section as its script gets it, on the command line of the rule."""
        return self.model_dump_json()

    def cost(self, state: State, protocols: Mapping[str, ProtocolInfo] | None = None) -> Cost:
        """Upper bounds of what these parameters cost in `state`."""
        del state, protocols
        return Cost()

    def repeated_steps(self, sit: Situation) -> int:
        """MD steps that repeat, with a model, what the reference has run."""
        del sit
        return 0

    def named_structures(self) -> list[tuple[str, str | None]]:
        """Structures of the index, each with the subsystem it is asked for, if any."""
        return []

    def named_protocols(self, sit: Situation) -> list[tuple[str | None, int]]:
        """Protocol files to run, each with the highest temperature (K) foreseen, 0 if none is."""
        del sit
        return []

    def preconditions(self, sit: Situation) -> Iterator[Fault]:
        """What must be there before the action can run."""
        del sit
        yield from ()

    def physics(self, sit: Situation) -> Iterator[Fault]:
        """What no such action should be asked for, whatever is there."""
        del sit
        yield from ()

    def items(self, state: State, config: Config) -> Items:
        """The independent pieces of work by name; those of a seeded action get seeds of their own.

        A job works on one or more of them; an item on disk is never computed again.
        """
        del state, config
        return {}

    def items_per_job(self, config: Config) -> int:
        """How many items share a job."""
        return config.reference_runs_per_job

    def gives_dataset(self) -> bool:
        """Whether `<action>/dataset.h5` is made, the data set of this iteration."""
        return False

    @abstractmethod
    def reduce(self, state: State, iteration: int, result: Any) -> Change:
        """How a result changes the state; pure."""

    @abstractmethod
    def project(self, iteration: int, sit: Situation, bound: Cost, well: bool) -> Result:
        """A made-up result, the most favourable or (not `well`) the least, for look-ahead."""


def outcome_of(failed: int, total: int) -> Literal["ok", "partial", "failed"]:
    """How an action of so many parts went."""
    if not failed:
        return "ok"
    return "failed" if failed == total else "partial"


def protocol_items(structures: Iterable[str], protocol: str | None) -> Items:
    """Runs of a protocol: items of their own, so that a lost job loses no MD beside it."""
    return {
        f"{s}+{protocol}": {"structure": s, "protocol": protocol} for s in structures if protocol
    }


def protocol_steps(protocol: str | None, protocols: Mapping[str, ProtocolInfo] | None) -> int:
    """MD steps of a protocol; none of one that a gate refuses."""
    return protocols[protocol].steps if protocols and protocol in protocols else 0
