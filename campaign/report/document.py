"""`report.html` and `model_card.md`: a campaign for the reviewer one has to convince."""

import json
import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from atomistics.structure_index import read_index
from campaign import __version__
from campaign.errors import UserError
from campaign.files import write_text
from campaign.folder import Campaign
from campaign.integrity import file_sha256
from campaign.report import figures
from campaign.report.bill import settle
from campaign.report.domain import domain
from campaign.report.story import (
    Standing,
    Story,
    calibrations,
    decisions,
    efforts,
    failures,
    files_of_potential,
    first_stops,
    measures,
    property_rows,
    standing,
    target_rows,
    tell,
)
from campaign.results import EvaluatedStructure, Verdict
from campaign.sources import sources_of
from campaign.state import State
from mtp.atomic import atomic_folder
from mtp.potential_files import copy_potential

if TYPE_CHECKING:
    from collections.abc import Callable

    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
PACKAGES = ("numpy", "scipy", "ase", "h5py", "mpi4py", "tblite", "chgnet", "snakemake", "pydantic")
MEANING = {
    "converged": "Every target is met on every target subsystem.",
    "fitted": "Fitted to imported labels. There is no reference, so nothing was tried in MD.",
    "budget_exhausted": "A limit was reached before every target was met.",
    "blocked": "The campaign cannot go on without a person.",
    "failed": "The targets are not met.",
    "unfinished": "The campaign goes on: this is how it stands, and no verdict.",
}


class StoredFile(NamedTuple):
    """A file named by its path from the report's folder, with its hash."""

    path: str
    sha256: str
    size: int


class Shown(NamedTuple):
    """The evaluation of one structure as the page shows it."""

    iteration: int
    evaluation: EvaluatedStructure
    plots: list[str]
    hidden_pairs: int
    note: str
    fresh_file: StoredFile | None


def write_folder(
    campaign: Campaign, state: State, verdict: Verdict | Standing, folder: Path, home: Path
) -> None:
    """Make `folder` anew: report, model card, and with a verdict the potential it is about.

    It is made whole under another name and renamed, so that it holds one state's papers or none.
    """
    with atomic_folder(folder, replace=True) as partial:
        if verdict.model and isinstance(verdict, Verdict):
            model = campaign.iteration(int(verdict.model[1:])) / "train/model.almtp"
            copy_potential(model, partial / "potential.almtp")
        write(campaign, state, verdict, partial, home)


def write_now(campaign: Campaign, folder: Path | None) -> Path:
    """The page of the campaign as it stands; nothing else in `folder` is touched.

    Without a folder it is `report`, and once there is a verdict `result`, where the potential is.
    """
    state = campaign.state()
    outcome = standing(state)
    folder = (
        folder or (campaign.result if state.verdict else campaign.folder / "report")
    ).absolute()
    write(campaign, state, outcome, folder)
    return folder / "report.html"


def write(
    campaign: Campaign,
    state: State,
    verdict: Verdict | Standing,
    folder: Path,
    home: Path | None = None,
) -> None:
    """Write the report and the model card of `verdict` into `folder`.

    `state` is the last one before the verdict, or the one with it; the potential's files are those
    that lie in `folder`. The same campaign gives the same bytes. Paths are relative to `home`,
    where the papers will lie (default: `folder`).
    """
    facts = gather(tell(campaign, state, verdict), folder, home or folder)
    html = _environment(autoescape=True).get_template("report.html.j2")
    write_text(folder / "report.html", html.render(facts))
    card = _environment(autoescape=False).get_template("model_card.md.j2")
    write_text(folder / "model_card.md", card.render(facts))


def _convergence(campaign: Campaign) -> dict[str, Any] | None:
    """What `planner converge` found of the reference's numerical settings, and its plot."""
    from campaign import converge  # loads numpy, which a check of the report's text does without

    result = converge.stored(campaign)
    if result is None:
        return None
    figure = figures.convergence_figure(result.series, result.tolerances)
    return {"table": converge.render(result), "figure": figure}


def gather(story: Story, folder: Path, home: Path) -> dict[str, Any]:
    """Everything both templates say, by name."""
    campaign, state = story.campaign, story.state
    potentials = [_stored(path, folder) for path in files_of_potential(folder)]
    shown = [
        _shown(story, number, evaluated, home)
        for number, evaluated in sorted(
            story.evaluated().values(), key=lambda pair: pair[1].structure
        )
    ]
    targets, pictures = state.targets, _pictures(story)
    roles = {s.name: s.role for s in state.subsystems}
    return {
        "task": campaign.task,
        "config": campaign.config,
        "state": state,
        "verdict": story.verdict,
        "meaning": MEANING[story.verdict.outcome],
        "model": story.model,
        "measures": measures(targets),
        "convergence": _convergence(campaign),
        "targets": target_rows(story),
        "domain": domain(story),
        "properties": property_rows(story),
        "potentials": potentials,
        "species": json.dumps(campaign.task.species),
        "header": _header(folder / potentials[0].path) if potentials else {},
        "evaluations": shown,
        "headline": next((s for s in shown if roles[s.evaluation.subsystem] == "target"), None),
        "learning": figures.learning_curve(state.models, list(roles), targets.force_mae),
        "efforts": efforts(story),
        "decisions": decisions(story),
        "bill": settle(story),
        "failures": failures(story),
        "calibrations": calibrations(story),
        "first_stops": first_stops(story),
        "pictures": pictures,
        "unreadable": story.unreadable,
        "imported": sources_of(campaign),
        "versions": _versions(),
        "state_sha256": campaign.state_sha256(state.iteration),
        "task_sha256": _stored(campaign.folder / "task.yaml", home).sha256,
    }


def _pictures(story: Story) -> dict[str, str]:
    """By structure: the first of each subsystem, one that sampling starts from if it has any."""
    from atomistics.structures import load  # with it numpy, which the page's text does without

    pictures: dict[str, str] = {}
    try:
        index = read_index(story.campaign.folder / "structures", files=False)
        for subsystem in story.state.subsystems:
            own = [s for s in index if s.subsystem == subsystem.name and not s.single_point]
            for first in sorted(own, key=lambda s: s.held_out)[:1]:
                pictures[first.id] = figures.picture(first.id, load(first))
    except UserError as error:
        story.unreadable.append(str(error).replace(f"{story.campaign.folder}/", ""))
    return pictures


def _shown(story: Story, number: int, evaluation: EvaluatedStructure, report_folder: Path) -> Shown:
    folder = story.campaign.iteration(number) / "model_eval"
    labelled = folder / "runs" / f"{evaluation.structure}.fresh.h5"
    kept = evaluation.fresh_frames and labelled.is_file()
    fresh = _stored(labelled, report_folder) if kept else None
    try:
        observed = figures.read_observables(folder / evaluation.structure / "observables.json")
    except UserError as error:
        return Shown(number, evaluation, [], 0, str(error), fresh)
    rdf, hidden = figures.rdf_figure(evaluation.structure, observed)
    plots = [figures.time_figure(evaluation.structure, observed), rdf]
    plots += figures.layer_figures(evaluation.structure, observed)
    plots.append(_property_figure(story, number, evaluation.structure))
    plots = [svg for svg in plots if svg]
    return Shown(number, evaluation, plots, hidden, "", fresh)


def _property_figure(story: Story, number: int, structure: str) -> str:
    """Equation of state and phonons, by the model and the last reference run that has them."""
    made = [number, *sorted((h.iteration for h in story.state.history), reverse=True)]
    curves: list[dict[str, Any]] = []
    for action, numbers in (("model_eval", made[:1]), ("reference_calc", made[1:])):
        paths = (
            story.campaign.iteration(n) / action / "runs" / f"{structure}.curves.json"
            for n in numbers
        )
        path = next((p for p in paths if p.is_file()), None)
        try:
            curves.append(json.loads(path.read_text(encoding="utf-8")) if path else {})
        except (OSError, ValueError, RecursionError):
            curves.append({})
    return figures.property_figure(structure, *curves)


def _stored(path: Path, start: Path) -> StoredFile:
    return StoredFile(os.path.relpath(path, start), file_sha256(path), path.stat().st_size)


def _header(potential: Path) -> dict[str, float]:
    """Numbers from a potential file's head, and the count of its coefficients where it tells.

    Radial S²·M·R, species S, linear K for S species, M radial functions of R terms and K basis
    functions (Novikov et al., Mach. Learn.: Sci. Technol. 2, 025002, 2021, section 2).
    """
    head = potential.read_bytes().partition(b"#MVS")[0].decode("utf-8", "replace")
    line = r"^\s*(\w+)\s*=\s*(\d+\.?\d*(?:[eE][-+]?\d+)?)\s*$"
    numbers = {key: float(value) for key, value in re.findall(line, head, re.MULTILINE)}
    keys = ("species_count", "radial_funcs_count", "radial_basis_size", "alpha_scalar_moments")
    if all(key in numbers for key in keys):
        species, functions, terms, linear = (int(numbers[key]) for key in keys)
        numbers["coefficients"] = species**2 * functions * terms + species + linear
    return numbers


def _versions() -> dict[str, str]:
    installed = {d.metadata["Name"]: d.version for d in metadata.distributions()}
    versions = {name: installed[name] for name in PACKAGES if name in installed}
    return {"mtpilot": __version__, "python": platform.python_version(), **versions}


def _number(value: float | None, digits: int = 3) -> str:
    if value is None:
        return "–"
    if isinstance(value, int) or 1e3 <= abs(value) < 1e9:
        return f"{value:,.0f}".replace(",", "\u202f")
    return f"{value:.{digits}g}" if value == 0 or 1e-4 <= abs(value) < 1e3 else f"{value:.2e}"


def _fixed(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _markdown(value: object) -> str:
    """Text that Markdown shows as it is: one line, every active character escaped."""
    from markupsafe import Markup

    if isinstance(value, Markup):
        return value
    text = re.sub(r"\s*[\r\n\x0b\x0c\x85\u2028\u2029]\s*", " ", str(value))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]()#|!~])", r"\\\1", text)


def _verbatim(value: object) -> str:
    """Text for a Markdown code block: kept as it is, but it cannot end the block."""
    from markupsafe import Markup

    return Markup(str(value).replace("`", "'"))


def _environment(*, autoescape: bool) -> "Environment":
    """Templates that refuse unknown names; texts of users and models are always escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    escape: dict[str, Callable[[object], str]] = {} if autoescape else {"finalize": _markdown}
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **escape,
    )
    raw = str if autoescape else _verbatim
    environment.filters |= {"number": _number, "fixed": _fixed, "words": _words, "raw": raw}
    return environment
