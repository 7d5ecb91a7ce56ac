"""How figures look and leave matplotlib: inline SVG whose colours are the page's own CSS variables.

Colours leave matplotlib as sentinels and become CSS variables, so that one figure reads in light and in dark.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape

from matplotlib import style
from matplotlib.figure import Figure

from gaussprobe.reports import text

# Colours that nothing else uses, and the CSS variables they stand for.
INK, MUTED, MEDIAN, WORST, FIT = "#010203", "#010204", "#010205", "#010206", "#010207"
FORWARD, PROBE, MARK, PAPER, MISSING = "#010208", "#010209", "#01020a", "#01020b", "#01020c"
BANDS = ("#01020d", "#01020e", "#01020f")  # gaussian, near-gaussian, non-gaussian
FIRST, SECOND = "#010218", "#010219"  # the settings of a comparison
PHASES = tuple(f"#01022{index}" for index in range(6))  # classes of chi_1, ordered to chaotic
HEAT = tuple(f"#01021{index}" for index in range(8))  # the classes of delta, small to large
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--rule-strong)",
    MEDIAN: "var(--median)",
    WORST: "var(--worst)",
    FIT: "var(--fit)",
    FORWARD: "var(--forward)",
    PROBE: "var(--probe)",
    MARK: "var(--mark)",
    PAPER: "var(--paper)",
    MISSING: "var(--missing)",
    FIRST: "var(--first)",
    SECOND: "var(--second)",
    **dict(zip(BANDS, ("var(--v-gaussian)", "var(--v-near)", "var(--v-non)"), strict=True)),
    **{sentinel: f"var(--heat-{index})" for index, sentinel in enumerate(HEAT)},
    **{sentinel: f"var(--phase-{index})" for index, sentinel in enumerate(PHASES)},
}
_STYLE = {
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.grid": False,
    "axes.labelcolor": INK,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "font.family": "sans-serif",
    "path.simplify": True,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "gaussprobe",
    "svg.image_inline": True,
    "text.color": INK,
    "text.parse_math": False,
    "text.usetex": False,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 8,
    "xtick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 8,
    "ytick.major.size": 2.5,
    "ytick.major.width": 0.6,
}


@contextmanager
def figure_style() -> Iterator[None]:
    """The look of the figures, whatever the reader's matplotlibrc says; enter it once for a whole report."""
    with style.context(["default", _STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module="seaborn")
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="seaborn")
        # Names are letters of the page, in the reader's fonts; matplotlib only guesses how wide they are.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font", category=UserWarning)
        yield


def to_svg(figure: Figure, title: str, key: str) -> str:
    """The figure as one element for the inside of a page: no prolog, no metadata, ids of its own.

    Args:
        figure: drawn with the colours above, inside `figure_style()`.
        title: what a screen reader says of it.
        key: makes the SVG's ids unique in the page; letters, digits and `-`.

    Returns:
        An `<svg>` element.
    """
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = file.getvalue().decode()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s+", " ", svg).replace("> <", "><").replace("xlink:href", "href")
    svg = re.sub(
        r"<defs></defs>|<defs/>|<g/>| font-family: [^;\"]*;| transform=\"rotate\(-?0 [^)]*\)\"", "", svg
    )
    svg = re.sub(r' (d|x|y)="([^"]*)"', lambda found: f' {found[1]}="{_short(found[2])}"', svg)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", svg))
    svg = re.sub(r' id="([^"]+)"', lambda found: f' id="{key}-{found[1]}"' if found[1] in used else "", svg)
    svg = re.sub(r"(url\(#|href=\"#)", rf"\g<1>{key}-", svg)
    for sentinel, variable in _VARIABLES.items():
        svg = svg.replace(sentinel, variable)
    box = re.search(r'viewBox="[^"]+"', svg)
    label = escape(text.plain(title))
    opening = f'<svg {box[0] if box else ""} role="img" aria-label="{label}"><title>{label}</title>'
    return re.sub(r"^<svg[^>]*>", lambda _: opening, svg.strip())


def _short(numbers: str) -> str:
    """Path data to a tenth of a point, without the blanks it can do without."""
    rounded = re.sub(r"-?\d+\.\d+", lambda found: f"{float(found[0]):.1f}".removesuffix(".0"), numbers)
    return re.sub(r" ?([MLCQz]) ?", r"\1", rounded).strip()
