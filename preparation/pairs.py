"""Interfaces by rules: two phases that meet, and the whole stack of layers."""

from campaign.errors import UserError
from campaign.material import Material, Phase
from preparation import phase_parameters, substances
from preparation.phase_parameters import BuilderInput

VariantDraft = tuple[str, str, BuilderInput]
# name, what is told, thickness of the first and of the second, density of the second, gap in Å;
# no two densities alike, as crystals of two thicknesses may be the same whole layers; REGISTRY
# moves a crystal over the other by parts of the common cell's a and b
ROWS = (
    ("thin", "thin layers, upper 2 % denser, gap 0.2 A narrower", 0.8, 0.8, 1.02, -0.2),
    ("layers", "likely densities", 1.0, 1.0, 1.0, 0.0),
    ("thick", "upper layer thicker, 2 % less dense", 1.0, 1.4, 0.98, 0.0),
    ("dense", "upper layer 5 % denser", 1.0, 1.0, 1.05, 0.0),
    ("apart", "upper layer 3 % less dense, gap 0.6 A wider", 1.0, 1.0, 0.97, 0.6),
    ("held-out", "lower layer thicker, upper 1 % denser, gap 0.2 A wider", 1.3, 1.1, 1.01, 0.2),
)
REGISTRY = {
    "thick": [0.13, 0.37],
    "dense": [0.29, 0.11],
    "apart": [0.41, 0.23],
    "held-out": [0.07, 0.19],
}
TERMINATION = {"dense": 1}  # of the lower crystal; of a film in the row apart
FIRMNESS = ("crystal", "other", "particle", "amorphous", "polymer", "melt", "liquid", "molecule")
GAP = 2.2
SHEETS = 3.0  # Å, least gap of sheets; by their radii it is wider, and varies about that
GRAINS, MIRRORED = 1.9, ("thick", "apart")  # Å between grains; what is mirrored, not turned
LAYER = 9.0
LEAST = 8.0  # Å, width of two crystals' common cell, as of a slab by itself
PACKED = ("amorphous", "liquid", "melt")


def pair(material: Material, one: Phase, other: Phase) -> list[VariantDraft]:
    """Variants of an interface; the firmer phase lies below."""
    lower, upper = sorted((one, other), key=lambda phase: FIRMNESS.index(phase.kind))
    kinds = (lower.kind, upper.kind)
    if "particle" in kinds:
        if lower.kind != "crystal":
            raise UserError(
                f"task.yaml: material.interfaces: a particle ({upper.name}, {lower.name}) lies on"
                " a crystal only; write other arrangements into structures/plan.yaml"
            )
        return _supported(material, lower, upper)
    if kinds == ("crystal", "crystal"):
        return _matched(material, one, other)
    if lower.kind == "crystal" and upper.kind in PACKED:
        return _on_slab(material, lower, upper)
    return full(material, [lower, upper])


def _on_slab(material: Material, lower: Phase, upper: Phase) -> list[VariantDraft]:
    """A glass, melt or liquid on a crystal's face."""
    width = phase_parameters.slab_width(material)
    drafts = []
    for suffix, words_of, below, above, density, apart in ROWS:
        slab = phase_parameters.slab(lower, round(LAYER * below, 1), width)
        slab |= {"termination_in_turn": TERMINATION.get(suffix, 0)}
        slab |= {"passivated": lower.passivated}
        thickness = layer_thickness(upper, width, above)
        film = {**phase_parameters.mixture(upper, density), "thickness_angstrom": thickness}
        if upper.kind == "amorphous":
            made: BuilderInput = {"family": "solid-solid", "substrate": slab, "amorphous": film}
            made["max_atoms"] = 5000
        else:
            made = {"family": "solid-molecule", "surface": slab, "liquid": film}
        words = _words(words_of, [lower, upper])
        drafts.append((suffix, words, {**made, "gap_angstrom": round(GAP + apart, 2)}))
    return drafts


def _matched(material: Material, one: Phase, other: Phase) -> list[VariantDraft]:
    """Two crystals in a common cell, strained to it; two grains of one crystal turned.

    The plane is forced upon the film, so that its density follows from the lengths along its
    normal; sheets keep theirs, at gaps by van der Waals radii.
    """
    drafts = []
    for suffix, text, below, above, density, apart in ROWS:
        film = phase_parameters.slab(other, round(LAYER * above, 1), LEAST)
        film |= {"termination_in_turn": int(suffix == "apart")}
        made: BuilderInput = {
            "family": "solid-solid",
            "substrate": phase_parameters.slab(one, round(LAYER * below, 1), LEAST),
            "film": {**film, "normal_scale": 1.0 if other.sheets else round(1 / density, 4)},
            "gap_angstrom": round(GAP + apart, 2),
            "registry": REGISTRY.get(suffix, [0.0, 0.0]),
            "max_strain_percent": 6.0,
            "max_atoms": max(1000, 10 * material.atoms),
        }
        made["substrate"] |= {"termination_in_turn": TERMINATION.get(suffix, 0)}
        words = text.replace("upper layer", "film").replace("upper", "film")
        if one.sheets or other.sheets:
            made |= {"contact": "van-der-waals", "vacuum_angstrom": 15.0}
            made |= {"gap_angstrom": SHEETS, "beyond_radii_angstrom": apart}
            times = _lengths(density)
            both = bool(one.sheets and other.sheets)
            for name in ("substrate", "film") if both else ():
                made[name] |= {"scale": times}
            of = f"lattices times {times:g}" if both else text.partition(",")[0]
            words = f"sheets, {of}, gap of their radii {apart:+g} A"
        elif _alike(one, other):
            del made["film"]
            scale = _lengths(density)
            made["substrate"] |= phase_parameters.slab(one, round(LAYER * below, 1), LEAST, scale)
            made["substrate"] |= {"scale": scale}
            made["grain"] = "mirrored" if suffix in MIRRORED else "turned"
            made["gap_angstrom"] = round(GRAINS + 0.3 * apart, 2)
            if made["grain"] == "mirrored":  # lies where it settles, not in between
                made["registry"] = [0.0, 0.0]
            words = f"grains, one {made['grain']}, gap {made['gap_angstrom']:g} A"
        drafts.append((suffix, words, made))
    return drafts


def _alike(one: Phase, other: Phase) -> bool:
    """Whether two phases are grains of one crystal with the same face."""
    return one.surface == other.surface and phase_parameters.crystal(
        one
    ) == phase_parameters.crystal(other)


def _lengths(density: float) -> float:
    """Factor of a lattice for a factor of its density."""
    return round(density ** (-1 / 3), 4)


def _supported(material: Material, lower: Phase, upper: Phase) -> list[VariantDraft]:
    """A particle on a crystal's face, under vacuum."""
    size = upper.diameter or 12.0
    drafts = []
    for suffix, text, below, above, density, apart in ROWS:
        diameter = size * (0.7 + 0.3 * above)
        width = max(phase_parameters.width(material), diameter + 8.0)
        grain = phase_parameters.particle(upper, diameter)
        made: BuilderInput = {
            "family": "solid-solid",
            "substrate": phase_parameters.slab(lower, round(7.0 * below, 1), round(width, 1)),
            "particle": {"family": "cluster", **grain, "scale": _lengths(density)},
            "gap_angstrom": round(GAP + apart, 2),
            "vacuum_angstrom": 12.0,
            "max_atoms": 5000,
        }
        words = text.replace("upper layer thicker", "particle larger")
        words = words.replace("upper layer", "particle").replace("upper", "particle")
        drafts.append((suffix, words, made))
    return drafts


def _liquids(material: Material, phases: list[Phase]) -> list[VariantDraft]:
    """Liquids and melts in layers."""
    width = phase_parameters.width(material)
    return [
        (
            suffix,
            _words(text, phases),
            {
                "family": "liquid-liquid",
                "phases": [
                    {
                        **phase_parameters.mixture(phase, density if n else 1.0),
                        "thickness_angstrom": layer_thickness(phase, width, above if n else below),
                    }
                    for n, phase in enumerate(phases)
                ],
                "width_angstrom": width,
                "gap_angstrom": round(1.5 + apart, 2),
            },
        )
        for suffix, text, below, above, density, apart in ROWS
    ]


def full(material: Material, phases: list[Phase]) -> list[VariantDraft]:
    """All layers in one cell, the last meeting the first; a crystal or a built layer sets it."""
    if all(phase.kind in ("liquid", "melt") for phase in phases):
        return _liquids(material, phases)
    crystals = any(phase.kind == "crystal" for phase in phases)
    first = next((phase for phase in phases if phase.kind == "crystal"), None)
    firm = None if crystals else min(phases, key=lambda phase: FIRMNESS.index(phase.kind))
    return [
        (
            suffix,
            _words(text, phases),
            {
                "family": "stack",
                "layers": [
                    _built(phase, suffix)
                    if phase is firm or phase.kind == "other"
                    else _layer(
                        material,
                        phase,
                        below if not n else above,
                        density if n else 1.0,
                        strained=crystals and phase is not first,
                    )
                    for n, phase in enumerate(phases)
                ],
                "gap_angstrom": round(GAP + apart, 2),
                **_of_crystals(phases, suffix, apart),
            },
        )
        for suffix, text, below, above, density, apart in ROWS
    ]


def _of_crystals(phases: list[Phase], suffix: str, apart: float) -> BuilderInput:
    """What a stack of several crystals varies besides: registry, gap of van der Waals faces."""
    if sum(phase.kind == "crystal" for phase in phases) < 2:
        return {}
    return {"registry": REGISTRY.get(suffix, [0.0, 0.0]), "beyond_radii_angstrom": apart}


def _words(text: str, phases: list[Phase]) -> str:
    """The row's words; a layer with a solute is as thick as whole formula units take."""
    if any(i.molarity is not None for phase in phases[1:] for i in phase.substances):
        text = text.replace("upper layer thicker, 2 %", "upper layer 2 %")
        text = text.replace("thin layers, upper", "thin lower layer, upper layer")
    return text


def _built(phase: Phase, suffix: str) -> BuilderInput:
    """A layer that is a structure of the phase's own category, the held-out one held out here."""
    of_row = {"thin": "box", "layers": "large", "thick": "box", "dense": "dense", "apart": "thin"}
    own = of_row.get(suffix, suffix)
    names = {
        "polymer": {"box": "chains", "large": "short"},
        "other": {"box": "file", "large": "wide", "thin": "file"},
    }
    chosen = names.get(phase.kind, {}).get(own, own)
    return {"name": phase.name, "structure": f"{phase.name}-{chosen}"}


def _layer(
    material: Material, phase: Phase, thick: float, density: float, strained: bool
) -> BuilderInput:
    """One layer; a crystal `strained` to another's cell has its density by the normal alone."""
    width = phase_parameters.slab_width(material)
    if phase.kind == "crystal":
        slab = phase_parameters.slab(phase, round(LAYER * thick, 1), width)
        content: BuilderInput = {"family": "solid-surface", **slab, "vacuum_angstrom": 0.0}
        content["passivated"] = phase.passivated
        if strained:
            content["normal_scale"] = 1.0 if phase.sheets else round(1 / density, 4)
        else:
            content["scale"] = _lengths(density)
        return {"name": phase.name, "content": content}
    if phase.kind == "polymer":
        units, number = chain_size(material, phase, 1.0)
        number += thick > 1.2
        made = phase_parameters.chains(
            phase, density, units, number, 1.0 if phase.substances else 0.0
        )
        return {"name": phase.name, "content": {"family": "polymer", **made}}
    if phase.kind not in PACKED:
        raise UserError(
            f"task.yaml: material.layers: {phase.name}: a {phase.kind} is no layer of a stack;"
            " write it into structures/plan.yaml"
        )
    thickness = layer_thickness(phase, width, thick)
    packed = {
        "family": "amorphous" if phase.kind == "amorphous" else "molecule",
        **phase_parameters.mixture(phase, density),
        "atoms": phase_parameters.solute_atoms(phase, material.atoms),
    }
    return {"name": phase.name, "content": packed, "thickness_angstrom": thickness}


def layer_thickness(phase: Phase, width: float, factor: float) -> float:
    """Å: nine, times a factor. A film with one solute is made thick enough for a formula unit by
    the builder, which knows the cross-section; of several the thinnest has to fit here."""
    solutes = [i.molarity for i in phase.substances if i.molarity is not None]
    least = 1000 / (substances.AVOGADRO * min(solutes) * width**2) if len(solutes) > 1 else 0.0
    return round(max(LAYER * factor, least * max(round(factor), 1)), 1)


def chain_size(material: Material, phase: Phase, added: float) -> tuple[int, int]:
    """Repeat units a chain and chains, near the wished size and with a whole formula unit added."""
    repeat = substances.repeat_of(phase)
    if repeat is None:
        raise UserError(f"task.yaml: material.phases.{phase.name}.repeat: missing")
    per_unit = max(1, substances.composition(repeat)[0].total())
    ratios = [i.ratio or 1.0 for i in phase.substances if i.molarity is None] if added else []
    least = max((round(1 / r) for r in ratios if r < 1), default=1)
    total = max(least, round(material.atoms / per_unit), 2)
    units = phase.units or max(2, total // 2)
    return units, max(1, -(-total // units))
