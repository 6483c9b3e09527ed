"""The report's plots as SVG text: same numbers, same bytes (hash salt, no date).

A broad pale line is the reference, a thin dark one the model, in every panel: the two are told
apart without colour too. Colours are those of Okabe and Ito (2008), safe for colour-blind readers.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, StringConstraints, ValidationError, model_validator

from campaign.errors import UserError
from campaign.state import ModelRecord

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from campaign.converge import Series

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLE: dict[str, Any] = {
    "font.size": 8.5,
    "font.family": "sans-serif",
    "axes.titlesize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.formatter.useoffset": False,
    "lines.linewidth": 1.1,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "svg.fonttype": "none",
}
PAIRS_SHOWN = 8
PALE: dict[str, Any] = {"color": "0.72", "linewidth": 2.6}
THIN: dict[str, Any] = {"color": COLOURS[0], "linewidth": 0.9}
POINTS_SHOWN = 20_000


Elements = Annotated[str, StringConstraints(pattern=r"^[A-Z][a-z]?(-[A-Z][a-z]?)?$")]


class Curves(BaseModel):
    """One quantity by model and reference."""

    model: list[float]
    reference: list[float]


class RdfCurves(BaseModel):
    """Radial distribution functions; r in Å."""

    r: list[float]
    pairs: dict[Elements, Curves]

    @model_validator(mode="after")
    def _lengths(self) -> "RdfCurves":
        for pair in self.pairs.values():
            _same_length(self.r, pair.model, pair.reference)
        return self


class Msd(Curves):
    """Mean squared displacement of one element in Å^2; times in ps."""

    time_ps: list[float]
    reference_time_ps: list[float]

    @model_validator(mode="after")
    def _lengths(self) -> "Msd":
        _same_length(self.time_ps, self.model)
        _same_length(self.reference_time_ps, self.reference)
        return self


class LayerCurves(BaseModel):
    """RDFs among the atoms of one layer, and its density in g/cm3 along the cell's height."""

    rdf: RdfCurves
    profile: Curves


class Observables(BaseModel):
    """`model_eval/<structure>/observables.json`; units g/cm3, eV/atom, Å, ps, eV/Å."""

    time_ps: list[float] = []
    reference_time_ps: list[float] = []
    density: Curves | None = None
    energy_per_atom: Curves | None = None
    rdf: RdfCurves | None = None
    msd: dict[Elements, Msd] = {}
    layers: dict[str, LayerCurves] = {}
    force_parity: Curves | None = None

    @model_validator(mode="after")
    def _lengths(self) -> "Observables":
        for curves in filter(None, (self.density, self.energy_per_atom)):
            _same_length(self.time_ps, curves.model)
            _same_length(self.reference_time_ps, curves.reference)
        if self.force_parity:
            _same_length(self.force_parity.model, self.force_parity.reference)
        return self


def _same_length(*series: list[float]) -> None:
    if len({len(s) for s in series}) > 1:
        raise ValueError(f"series of {', '.join(str(len(s)) for s in series)} points")


def read_observables(path: Path) -> Observables:
    """The observables of one evaluated structure; UserError when missing or malformed."""
    try:
        return Observables.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError:
        raise UserError("no observables.json was left by the evaluation") from None
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"])) or "document"
        raise UserError(f"observables.json: {where}: {fault['msg']}") from None
    except ValueError as error:
        raise UserError(f"observables.json: not valid JSON ({error})") from None


def time_figure(name: str, observables: Observables) -> str:
    """Density, energy, MSD against time, and force parity, of one structure."""
    panels = [
        (draw, value)
        for draw, value in (
            (_density, observables.density),
            (_energy, observables.energy_per_atom),
            (_msd, observables.msd),
            (_parity, observables.force_parity),
        )
        if value and (draw is _msd or value.model)
    ]
    if not panels:
        return ""

    def draw_all(figure: "Figure") -> None:
        figure.set_size_inches(2.45 * len(panels), 2.2)
        for axis, (draw, _) in zip(_grid(figure, 1, len(panels)), panels, strict=True):
            draw(axis, observables)

    title = f"{name}: density, energy, displacement and forces, model and reference"
    return _svg(draw_all, f"time-{name}", title)


def rdf_figure(name: str, observables: Observables) -> tuple[str, int]:
    """RDF of every pair (the worst ones first), and how many pairs had no room."""
    return (
        _rdf_figure(name, observables.rdf) if observables.rdf and observables.rdf.pairs else ("", 0)
    )


def layer_figures(name: str, observables: Observables) -> list[str]:
    """The profile of all layers, then the RDFs of each."""
    if not observables.layers:
        return []
    rdfs = [
        _rdf_figure(f"{name}, {layer}", curves.rdf)[0]
        for layer, curves in observables.layers.items()
        if curves.rdf.pairs
    ]
    return [profile_figure(name, observables), *rdfs]


def _rdf_figure(name: str, rdf: RdfCurves) -> tuple[str, int]:
    worst = sorted(rdf.pairs, key=lambda pair: (-_distance(rdf.pairs[pair]), pair))[:PAIRS_SHOWN]
    columns = min(4, len(worst))
    rows = -(-len(worst) // columns)

    def draw_all(figure: "Figure") -> None:
        figure.set_size_inches(2.45 * columns, 1.65 * rows + 0.2)
        axes = _grid(figure, rows, columns)
        for index, pair in enumerate(worst):
            axis = axes[index]
            _both(axis, (rdf.r, rdf.pairs[pair].model), (rdf.r, rdf.pairs[pair].reference))
            axis.set_title(f"g(r) {pair}")
            if index >= len(worst) - columns:
                axis.set_xlabel("r / Å")
        for axis in axes[len(worst) :]:
            axis.remove()

    title = f"{name}: radial distribution functions, model and reference"
    return _svg(draw_all, f"rdf-{name}", title), len(rdf.pairs) - len(worst)


def property_figure(name: str, model: dict[str, Any], reference: dict[str, Any]) -> str:
    """Energy against volume, phonon bands and density of states, of whichever has them."""
    panels = [
        draw
        for key, draws in (("eos", [_volumes]), ("phonons", [_bands, _dos]))
        if key in model or key in reference
        for draw in draws
    ]
    if not panels:
        return ""

    def draw_all(figure: "Figure") -> None:
        figure.set_size_inches(3.2 * len(panels), 2.4)
        for axis, draw in zip(_grid(figure, 1, len(panels)), panels, strict=True):
            draw(axis, model, reference)

    return _svg(draw_all, f"properties-{name}", f"{name}: equation of state and phonons")


def _volumes(axis: "Axes", model: dict[str, Any], reference: dict[str, Any]) -> None:
    for style, curves in ((PALE, reference), (THIN, model)):
        if eos := curves.get("eos"):
            lowest = min(eos["energy"])
            energies = [1000 * (e - lowest) for e in eos["energy"]]
            axis.plot(eos["volume"], energies, marker=".", **style)
    axis.set(title="energy − lowest, meV/atom", xlabel="volume, Å³/atom")


def _bands(axis: "Axes", model: dict[str, Any], reference: dict[str, Any]) -> None:
    for style, curves in ((PALE, reference), (THIN, model)):
        if phonons := curves.get("phonons"):
            for band in phonons["frequencies"]:
                axis.plot(phonons["distance"], band, **style)
            axis.set_xticks(phonons["ticks"], phonons["labels"])
    axis.axhline(0, color="0.35", linewidth=0.6)
    axis.set_title("phonons, THz (below 0: imaginary)")


def _dos(axis: "Axes", model: dict[str, Any], reference: dict[str, Any]) -> None:
    for style, curves in ((PALE, reference), (THIN, model)):
        if phonons := curves.get("phonons"):
            axis.plot(phonons["dos_frequency"], phonons["dos"], **style)
    axis.set(title="density of states", xlabel="THz")


def picture(name: str, atoms: "Atoms") -> str:
    """A structure seen along its first and its third axis, the cell drawn."""

    def draw_all(figure: "Figure") -> None:
        from ase.visualize.plot import plot_atoms

        figure.set_size_inches(3.4, 1.8)
        figure.subplots_adjust(left=0, right=1, bottom=0, top=1, wspace=0.05)
        for axis, turned in zip(figure.subplots(1, 2), ("-90x,-90y", ""), strict=True):
            plot_atoms(atoms, axis, rotation=turned)
            axis.set_rasterization_zorder(math.inf)  # thousands of atoms are a picture, not paths
            axis.set_axis_off()

    return _svg(
        draw_all, f"structure-{name}", f"{name}: atoms and cell, from the side and from above"
    )


def profile_figure(name: str, observables: Observables) -> str:
    """Density of every layer along the height of the cell."""
    if not observables.layers:
        return ""

    def draw_all(figure: "Figure") -> None:
        figure.set_size_inches(9.8, 2.4)
        (axis,) = _grid(figure, 1, 1, right=1.8)
        for index, (layer, curves) in enumerate(observables.layers.items()):
            colour = COLOURS[index % len(COLOURS)]
            bins = len(curves.profile.reference)
            heights = [(n + 0.5) / bins for n in range(bins)]
            axis.plot(heights, curves.profile.reference, color=colour, linewidth=3.2, alpha=0.3)
            axis.plot(heights, curves.profile.model, color=colour, label=layer)
        axis.set(title="density of each layer, g/cm³", xlabel="height / height of the cell")
        axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))

    return _svg(draw_all, f"profile-{name}", f"{name}: density of each layer along the height")


def learning_curve(models: list[ModelRecord], subsystems: list[str], bound: float) -> str:
    """Force MAE of each subsystem against the labels a model was fitted to; `bound` in eV/Å."""
    usable = [m for m in models if m.status == "ok" and m.errors]
    if not usable:
        return ""

    def draw_all(figure: "Figure") -> None:
        from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

        figure.set_size_inches(9.8, 2.9)
        train, held_out = _grid(figure, 1, 2, right=1.8)
        for axis, split in ((train, "train"), (held_out, "held_out")):
            axis.set_title(f"force MAE on {split.replace('_', '-')} frames, eV/Å")
            axis.set_xlabel("labels in the fit")
            axis.axhline(bound, color="0.35", linewidth=0.8, linestyle=(0, (4, 3)))
            for index, subsystem in enumerate(subsystems):
                points = sorted(
                    (model.frames, error.force_mae)
                    for model in usable
                    for error in model.errors
                    if error.split == split and error.subsystem == subsystem
                )
                style = {"marker": "osD^vPX"[index % 7], "markersize": 3.5, "label": subsystem}
                colour = COLOURS[index % len(COLOURS)]
                axis.plot([x for x, _ in points], [y for _, y in points], color=colour, **style)
            axis.set_yscale("log")
            low, high = axis.get_ylim()
            subs = (1, 2, 5) if high > 10 * low else (1, 1.5, 2, 3, 5, 7)
            axis.yaxis.set_major_locator(LogLocator(subs=subs))
            axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axis.yaxis.set_minor_locator(NullLocator())
            where = {"xycoords": ("axes fraction", "data"), "va": "bottom"}
            axis.annotate("target", (0.01, bound), **where)
        held_out.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))

    return _svg(draw_all, "learning", "Force MAE of each subsystem against labels")


def convergence_figure(series: Sequence["Series"], allowed: Mapping[str, float]) -> str:
    """Force errors (meV/Å) of numerical settings against core-seconds of a call, a panel each."""

    def draw_all(figure: "Figure") -> None:
        figure.set_size_inches(1.2 + 3.0 * len(series), 2.6)
        for axis, one in zip(_grid(figure, 1, len(series)), series, strict=True):
            points = [p for p in one.points[:-1] if p.forces]
            costs, errors = [p.core_seconds for p in points], [1e3 * p.forces for p in points]
            axis.set_title(f"{one.name}: force error, meV/Å")
            axis.set_xlabel("core-seconds a call")
            axis.plot(costs, errors, marker="o", markersize=3.5, color=COLOURS[0])
            axis.axhline(1e3 * allowed["forces"], color="0.35", linewidth=0.8, linestyle="dashed")
            axis.set_yscale("log")
            for point, cost, error in zip(points, costs, errors, strict=True):
                axis.annotate(f" {point.value:g} {one.unit}", (cost, error), fontsize=7)

    return _svg(draw_all, "converge", "Errors of numerical settings against cost")


def _density(axis: "Axes", observables: Observables) -> None:
    _in_time(axis, observables, observables.density)
    axis.set_title("density, g/cm³")


def _energy(axis: "Axes", observables: Observables) -> None:
    curves = observables.energy_per_atom
    origin = fmean(curves.reference or curves.model)
    model, reference = ([1000 * (e - origin) for e in s] for s in (curves.model, curves.reference))
    _in_time(axis, observables, Curves(model=model, reference=reference))
    axis.set_title("energy − ⟨reference⟩, meV/atom")


def _msd(axis: "Axes", observables: Observables) -> None:
    end = _shared_lag(observables)
    for index, (element, msd) in enumerate(observables.msd.items()):
        shown = [(t, d) for t, d in zip(msd.time_ps, msd.model, strict=True) if t <= end]
        colour = COLOURS[index % len(COLOURS)]
        axis.plot(msd.reference_time_ps, msd.reference, color=colour, linewidth=3.2, alpha=0.3)
        axis.plot([t for t, _ in shown], [d for _, d in shown], color=colour, label=element)
    axis.set(title="MSD, Å²", xlabel="lag / ps")
    axis.legend(loc="best", ncols=2)


def _shared_lag(observables: Observables) -> float:
    """Lag time up to which there is something to compare: twice the reference's, in ps."""
    reference = max((t for m in observables.msd.values() for t in m.reference_time_ps), default=0.0)
    return 2 * reference or float("inf")


def _parity(axis: "Axes", observables: Observables) -> None:
    parity = observables.force_parity
    step = -(-len(parity.model) // POINTS_SHOWN)
    reference, model = parity.reference[::step], parity.model[::step]
    ends = [min(reference), max(reference)]
    axis.plot(ends, ends, color="0.6", linewidth=0.8)
    axis.plot(
        reference, model, ".", markersize=1.6, alpha=0.35, color=COLOURS[0], rasterized=True, mew=0
    )
    axis.set(title="force components, eV/Å", xlabel="reference", ylabel="model")


def _in_time(axis: "Axes", observables: Observables, curves: Curves) -> None:
    """Both runs; a band of the reference's mean and deviation, for it is often the shorter one."""
    if len(curves.reference) > 1:
        mean, spread = fmean(curves.reference), stdev(curves.reference)
        axis.axhspan(mean - spread, mean + spread, color="0.92", linewidth=0)
    _both(
        axis, (observables.time_ps, curves.model), (observables.reference_time_ps, curves.reference)
    )
    axis.set_xlabel("t / ps")


def _both(
    axis: "Axes", model: tuple[list[float], list[float]], reference: tuple[list[float], list[float]]
) -> None:
    axis.plot(*reference, color="0.72", linewidth=3.2, label="reference")
    axis.plot(*model, color=COLOURS[0], label="model")


def _distance(pair: Curves) -> float:
    return sum(abs(a - b) for a, b in zip(pair.model, pair.reference, strict=True))


def _grid(figure: "Figure", rows: int, columns: int, right: float = 0.1) -> list["Axes"]:
    """Axes with margins in inches; an automatic layout would double the drawing time."""
    width, height = figure.get_size_inches()
    figure.subplots_adjust(
        left=0.45 / width,
        right=1 - right / width,
        bottom=0.42 / height,
        top=1 - 0.25 / height,
        wspace=0.3,
        hspace=0.5,
    )
    return list(figure.subplots(rows, columns, squeeze=False).flat)


def _svg(draw_all: Any, salt: str, title: str) -> str:
    """Draw on an empty figure; ids are prefixed so that many figures share one page."""
    import io

    import matplotlib as mpl
    from matplotlib.figure import Figure

    stream = io.StringIO()
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({**STYLE, "svg.hashsalt": salt})
        figure = Figure()
        draw_all(figure)
        bare = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(stream, format="svg", dpi=160, metadata=bare, transparent=True)
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{salt}-", text)
    return text.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
