"""A laboratory as one self-contained HTML page: no network, nothing to install, nothing beside it."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Template
from markupsafe import Markup, escape

from gaussprobe import files
from gaussprobe.laboratory import Laboratory
from gaussprobe.reports import laboratory_figures, laboratory_glossary, page, text
from gaussprobe.reports import laboratory_words as words
from gaussprobe.reports.laboratory_rows import rows
from gaussprobe.version import __version__

_MOST_PLOTS = 8  # Q-Q plots


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure and what stands under it."""

    svg: Markup
    caption: str


def write(found: Laboratory, path: str | Path) -> None:
    """Write the report of a laboratory, replacing an older report there whole or not at all.

    Args:
        found: the laboratory.
        path: where to; its folder must exist.

    Raises:
        StoreError: if `path` cannot be written, or holds something other than a report of ours.
    """
    page.check_replaceable(path)
    files.replace_file(path, render(found).encode())


def render(found: Laboratory) -> str:
    """The report of a laboratory as the text of one HTML page; the same for the same laboratory.

    Args:
        found: the laboratory.

    Returns:
        The page.
    """
    from gaussprobe.reports import drawing

    with drawing.figure_style():
        by_layer = _by_layer(found)
        plots = _plots(found)
        diagram = _diagram(found)
    laws, others = words.sentences(found)
    tests = tuple(dict.fromkeys(name for law in found.propagation for name in law.tests))
    rendered: str = _template().render(
        found=found,
        run=found.propagation,
        title=words.title(found),
        broken=found.propagation.first_nonfinite,
        laws=laws,
        others=others,
        level=words.level(found),
        by_layer=by_layer,
        plots=plots,
        diagram=diagram,
        point=_point(found),
        rows=rows(found, range(1, len(found.propagation) + 1)),
        tests=tests,
        unmeasured=words.unmeasured(found),
        methods=laboratory_glossary.groups(found.propagation.activation, found.propagation.weight, tests),
        provenance=_provenance(found),
    )
    return rendered


@functools.cache
def _template() -> Template:
    environment = page.environment()
    environment.filters |= {
        "symbols": symbols,
        "interval": lambda numbers: page.typeset(text.interval(*numbers)[1]),
        "estimate": lambda numbers: page.typeset(text.interval(*numbers)[0]),
    }
    environment.globals |= {
        "compare_css": page.asset("compare.css"),
        "laboratory_css": page.asset("laboratory.css"),
        "script": page.asset("compare.js"),
        "version": __version__,
        "phase_classes": text.class_labels([text.number(limit) for limit in laboratory_figures.CHI_LIMITS]),
    }
    return environment.get_template("laboratory.html.j2")


def symbols(sentence: str) -> Markup:
    """A sentence with `sigma_w` and the like as Greek letters, and minus signs that are minus signs."""
    said = re.sub(r"(?<![\w-])-(?=[.\d]|inf\b)", "−", str(escape(text.plain(sentence))))
    said = re.sub(r"(?<!\w)inf(?!\w)", "∞", said).replace("chi_1", "χ<sub>1</sub>")
    said = re.sub(r"\bsigma_([wb])\b", r"σ<sub>\1</sub>", said)
    return Markup(said)  # noqa: S704  escaped above


def _by_layer(found: Laboratory) -> dict[str, Drawing | None]:
    """The figures over layers."""
    run = found.propagation
    told = "the first to the last layer"
    drawn = {
        "distances": (
            laboratory_figures.distances,
            f"KS distance by layer, logarithmic scale: {_ends(found, 'ks_distance')} against N(0,1), "
            f"{_ends(found, 'fitted_ks_distance')} against the fitted normal law, {told}",
            "KS distance by layer, with its 95 % interval against N(0,1).",
        ),
        "spreads": (
            laboratory_figures.spreads,
            f"sd by layer: {_ends(found, 'sd')}, {told}",
            "Standard deviation of the pre-activation by layer.",
        ),
        "correlations": (
            laboratory_figures.correlations,
            "Correlation of two inputs by layer",
            "Correlation of two inputs by layer, with its 95 % interval; "
            f"{text.number(found.input_correlation)} at the input.",
        ),
    }
    if run.correlations:
        first, last = (text.number(run.correlations[at].correlation) for at in (0, -1))
        draw, title, caption = drawn["correlations"]
        drawn["correlations"] = (draw, f"{title}: {first} to {last}, {told}", caption)
    return {
        name: _drawing(draw(found, title, name), caption) for name, (draw, title, caption) in drawn.items()
    }


def _drawing(svg: str, caption: str) -> Drawing | None:
    """A figure; None where nothing could be drawn."""
    return Drawing(svg=Markup(svg), caption=caption) if svg else None  # noqa: S704  to_svg escapes names


def _ends(found: Laboratory, name: str) -> str:
    values = found.propagation.over_layers(name)
    return f"{text.number(float(values[0]))} to {text.number(float(values[-1]))}"


def _plots(found: Laboratory) -> list[Drawing]:
    """Q-Q plots of the selected layers that can be drawn."""
    drawn = []
    for layer in _spaced(words.selected(found), _MOST_PLOTS):
        law = found.propagation[layer - 1]
        svg = laboratory_figures.quantiles(law, f"Q-Q plot of layer {layer}", f"q{layer}")
        drawn.append(_drawing(svg, f"layer {layer}: mean {text.number(law.mean)}, sd {text.number(law.sd)}"))
    return [one for one in drawn if one is not None]


def _spaced(layers: Sequence[int], most: int) -> list[int]:
    """At most so many, the first and the last among them."""
    if len(layers) <= most:
        return list(layers)
    return [layers[round(index * (len(layers) - 1) / (most - 1))] for index in range(most)]


def _diagram(found: Laboratory) -> Drawing | None:
    if found.diagram is None:
        return None
    title = (
        "Phase diagram: chi 1 over the sd of weights and biases, the edge of chaos between its phases; "
        f"the setting is at {text.number(found.point.sigma_w)}, {text.number(found.point.sigma_b)}"
    )
    inside = _within(found.point.sigma_w, found.diagram.sigma_w) and _within(
        found.point.sigma_b, found.diagram.sigma_b
    )
    outside = "" if inside else " The setting lies outside the diagram."
    svg = laboratory_figures.phases(found.diagram, found.point, title, "phases")
    return _drawing(svg, f"chi_1 of infinitely wide networks.{outside}")


def _within(value: float, grid: Sequence[float]) -> bool:
    return min(grid) <= value <= max(grid)


def _point(found: Laboratory) -> list[tuple[str, str]]:
    """Where the setting lies, in numbers."""
    point, edge = found.point, found.edge
    numbers = [
        ("sd of weights", point.sigma_w),
        ("sd of biases", point.sigma_b),
        ("chi_1", point.chi1),
        ("fixed point of the variance", point.fixed_point),
        ("fixed point of the correlation", point.correlation_fixed_point),
        ("depth scale of the variance, layers", point.variance_depth),
        ("depth scale of the correlation, layers", point.correlation_depth),
        ("edge at this sd of biases, sd of weights", edge.sigma_w),
        ("fixed point of the variance there", edge.fixed_point),
    ]
    said = [("phase", point.phase), *((name, page.typeset(text.number(value, 5))) for name, value in numbers)]
    notes = (("note", point.reason), ("note on the edge", edge.reason))
    return [*said, *((name, reason) for name, reason in notes if reason)]


def _provenance(found: Laboratory) -> list[tuple[str, str]]:
    run = found.propagation
    shape = " x ".join(map(str, run.input_shape))
    set_ = [
        ("Command", found.command),
        ("Activation", run.activation),
        ("Weights", f"{run.weight}, normal in the first layer"),
        ("Widths", words.widths(run.widths)),
        ("Networks", f"{run.draws:,}"),
        ("sigma_w", page.typeset(text.number(run.sigma_w, 6))),
        ("sigma_b", page.typeset(text.number(run.sigma_b, 6))),
        ("Sd of the law of the weights", "" if found.weight_sd == 1 else text.number(found.weight_sd, 6)),
        ("Inputs", f"{shape}, correlation {text.number(found.input_correlation)}"),
        ("Seed", str(run.seed)),
        ("Device", run.device),
        ("Made", f"{found.created}, UTC" if found.created else ""),
        ("Time", f"{text.number(found.seconds)} s" if math.isfinite(found.seconds) else ""),
        ("Versions", ", ".join(f"{name} {version}" for name, version in found.versions.items())),
        ("gaussprobe", found.gaussprobe),
    ]
    return [(name, value) for name, value in set_ if value]
