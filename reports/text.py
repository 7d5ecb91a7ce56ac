"""Words and numbers that every report shares: the headline, what comes first, how a number is written."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Iterable, Sequence

from gaussprobe.changes import SiteChange
from gaussprobe.reports import glossary, series
from gaussprobe.types import VERDICTS, GofSummary, LayerScore, Run, Summary, Verdict, View

PRIMARY_TEST = "shapiro_wilk"
NOT_AVAILABLE = "n/a"
WITHHELD = "withheld"
_MOST_REASON = 200

_HAS = {
    "none": "has no clear departure",
    "multimodal": "is multimodal",
    "atoms": "has atoms",
    "discrete": "is discrete",
}


def number(value: float, digits: int = 3) -> str:
    """A number to `digits` significant digits: `.0412`, `-1.20`, `12,300`, `2.5e-06`, `inf`, `n/a`.

    Args:
        value: the number.
        digits: significant digits.

    Returns:
        Its text, in ASCII, without the zero before the point.
    """
    if not math.isfinite(value):
        return NOT_AVAILABLE if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if value == 0:
        return "0"
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    power = int(exponent)
    if power < -4 or power >= 6:
        return f"{mantissa}e{power:+03d}"
    return pointed(value, max(digits - 1 - power, 0))


def interval(median: float, low: float, high: float, *, decimals: int = 4) -> tuple[str, str]:
    """An estimate and its interval to the same decimals: three digits of the largest.

    Args:
        median: the estimate.
        low, high: the limits.
        decimals: at most.

    Returns:
        `(".0412", "[.0371, .0460]")`; `("n/a", "")` where there is no estimate.
    """
    if math.isnan(median):
        return NOT_AVAILABLE, ""
    sizes = [abs(value) for value in (median, low, high) if math.isfinite(value)]
    largest = max(sizes, default=0.0)
    if largest >= 1e6:
        return number(median), f"[{number(low)}, {number(high)}]"
    power = math.floor(math.log10(largest)) if largest > 0 else 0
    decimals = min(max(2 - power, 0), decimals)
    texts = [pointed(v, decimals) if math.isfinite(v) else number(v) for v in (median, low, high)]
    if not math.isfinite(median) or math.isnan(low) or math.isnan(high):
        return texts[0], ""
    return texts[0], f"[{texts[1]}, {texts[2]}]"


def pointed(value: float, decimals: int) -> str:
    """A finite number to so many decimals, without the zero before the point."""
    text = f"{value:,.{decimals}f}"
    if float(text.replace(",", "")) == 0:
        text = text.removeprefix("-")
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def class_labels(limits: Sequence[str]) -> list[str]:
    """What classes between limits are called, the lowest first; each begins at its limit."""
    inner = [f"{low} to {high}" for low, high in itertools.pairwise(limits)]
    return [f"below {limits[0]}", *inner, f"{limits[-1]} and more"]


def pvalue(value: float | None) -> str:
    """A p-value to two digits; `<1e-4` below that, `>.99` where rounding would say 1, `withheld` without one.

    Args:
        value: the p-value, None when withheld, NaN when it could not be computed.

    Returns:
        Its text, in ASCII.
    """
    if value is None:
        return WITHHELD
    if math.isnan(value):
        return NOT_AVAILABLE
    if value < 1e-4:
        return "<1e-4"
    return ">.99" if 0.99 < value < 1 else number(value, 2)


def percent(value: float | None) -> str:
    """A share as a percentage; `<1%` and `>99%` where rounding would say none or all.

    Args:
        value: the share, None when withheld, NaN when it could not be computed.

    Returns:
        Its text, in ASCII.
    """
    if value is None:
        return WITHHELD
    if math.isnan(value):
        return NOT_AVAILABLE
    if 0 < value < 0.01:
        return "<1%"
    if 0.99 < value < 1:
        return ">99%"
    return f"{100 * value:.0f}%"


def plain(text: str, encoding: str = "utf-8") -> str:
    """Text that cannot steer a terminal or break a document: what does not print is written as an escape.

    Args:
        text: a site's name, a note, a reason: it may come from a file that nobody vouches for.
        encoding: of where it is to be written.

    Returns:
        The text with control, format and lone surrogate characters written as `\\x1b`, `\\u202e`, `\\udcff`,
        and whatever `encoding` has not likewise.
    """
    safe = "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode()
        for char in text
    )
    return safe.encode(encoding, "backslashreplace").decode(encoding)


def shown(run: Run) -> tuple[LayerScore, ...]:
    """The scores that a report shows: those of the last recorded step, in execution order.

    Of a watched run with a fixed batch those are of that batch, else of the training forward.
    """
    source = series.shown_source(run)
    scores = [score for score in run.scores if score.source == source]
    last = max((score.step for score in scores), default=0)
    return tuple(score for score in scores if score.step == last)


def step_sentence(run: Run) -> str | None:
    """Which step is shown, None for a scan of one step."""
    source = series.shown_source(run)
    steps = sorted({score.step for score in run.scores if score.source == source})
    if series.is_watched(run):
        if not steps:
            return None
        which = "the only one recorded" if len(steps) == 1 else f"the last of {len(steps):,} recorded"
        seen = glossary.SOURCE_MEANING[source]
        return f"Verdicts are those of step {steps[-1]:,}, {which}, of {seen}."
    if len(steps) < 2:
        return None
    return f"Shown: step {steps[-1]:,}, the last of {len(steps):,} recorded."


def worst_first(scores: Iterable[LayerScore]) -> list[LayerScore]:
    """Scores by how much they need a look: non-finite ones, then by falling delta, then those without one.

    Args:
        scores: in execution order, which breaks ties.

    Returns:
        The same scores, sorted.
    """

    def key(score: LayerScore) -> tuple[int, float]:
        if score.departure == "non-finite":
            return 0, 0.0
        delta = score.delta.median
        return (2, 0.0) if math.isnan(delta) else (1, -delta)

    return sorted(scores, key=key)


def split(scores: Iterable[LayerScore]) -> tuple[list[LayerScore], list[LayerScore]]:
    """The layers that count, and those that do not (outputs of nonlinearities), each worst first."""
    ranked = worst_first(scores)
    return [s for s in ranked if s.headline], [s for s in ranked if not s.headline]


def tally(scores: Iterable[LayerScore]) -> dict[Verdict, int]:
    """How many scores have each verdict, in the order of `VERDICTS`."""
    found = [score.verdict for score in scores]
    return {verdict: found.count(verdict) for verdict in VERDICTS}


def noun(layers: Iterable[LayerScore]) -> str:
    """What the scores that count are called: `layer`, or `site` where one is not a whole module's output."""
    return "site" if any(":" in score.site or "#" in score.site for score in layers) else "layer"


def headline(run: Run) -> str:
    """The one sentence to take away, or two: over the layers that count, never over activation sites.

    Args:
        run: the run.

    Returns:
        Text such as "5 of 9 layers are non-gaussian; the worst, `net.3`, is heavy-tailed (delta .0412
        [.0371, .0460])."
    """
    layers = split(shown(run))[0]
    if not layers:
        return "No layer could be measured; see what was not captured, and why."
    total = len(layers)
    counts = tally(layers)
    if counts["undetermined"] == total:
        return f"Nothing could be decided: {'; '.join(_obstacles(layers))}."
    one = noun(layers)
    broken = [score for score in layers if score.departure == "non-finite"]
    worst = next((score for score in layers if score.verdict == "non-gaussian"), None)
    if worst is not None:
        some = _count(counts["non-gaussian"], total, one, "non-gaussian")
        which = "it" if total == 1 else f"the worst, `{plain(worst.site)}`,"
        sentence = f"{some}; {which} {_departs(worst)} ({delta_text(worst)})."
    elif counts["gaussian"] == total:
        sentence = f"{_count(total, total, one, 'gaussian')}."
    else:
        rest = _listed([f"{count} {verdict}" for verdict, count in counts.items() if count])
        sentence = f"No {one} is shown to be non-gaussian: of {total}, {rest}."
    if broken:
        sentence = f"{_broken(broken)}. {sentence}"
    return sentence


def _broken(broken: Sequence[LayerScore]) -> str:
    holds = "holds" if len(broken) == 1 else f"and {len(broken) - 1} more: they hold"
    return f"`{plain(broken[0].site)}` {holds} NaN or infinity"


def _obstacles(layers: Sequence[LayerScore]) -> list[str]:
    """Why none of the layers could be decided, each reason once."""
    groups: dict[str, list[LayerScore]] = {}
    for score in layers:
        groups.setdefault(_obstacle(score), []).append(score)
    said = []
    for reason, found in groups.items():
        share = f"{len(found)} of {len(layers)} {noun(layers)}s"
        if found[0].departure == "non-finite":
            several = f"{share} hold NaN or infinity, `{plain(found[0].site)}` first"
            said.append(_broken(found) if len(found) == 1 else several)
        else:
            said.append(reason if len(groups) == 1 else f"{reason} ({share})")
    return said


def _obstacle(score: LayerScore) -> str:
    delta = score.delta
    if score.departure in ("non-finite", "constant"):
        return "the values are constant" if score.departure == "constant" else score.departure
    if math.isnan(delta.median):  # why not is then the first of its notes
        return plain(score.notes[0][:_MOST_REASON]) if score.notes else "delta could not be measured"
    if math.isnan(delta.low) or math.isnan(delta.high):
        return "delta has no interval, for the reason in the notes"
    return f"the interval of delta reaches across {glossary.HIGH}; more samples may help"


def delta_text(score: LayerScore) -> str:
    """`delta .0412 [.0371, .0460]`."""
    estimate, limits = interval(score.delta.median, score.delta.low, score.delta.high)
    return f"delta {estimate} {limits}".rstrip()


def _departs(score: LayerScore) -> str:
    return _HAS.get(score.departure, f"is {score.departure}")


def _count(count: int, total: int, one: str, what: str) -> str:
    if count == total:
        return f"The one {one} is {what}" if total == 1 else f"All {total} {one}s are {what}"
    return f"{count} of {total} {one}s {'is' if count == 1 else 'are'} {what}"


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def departure(score: LayerScore) -> str:
    """The kind of departure; `n/a` where nothing was measured, so that none could have been found."""
    nothing = score.departure == "none" and math.isnan(score.delta.median)
    return NOT_AVAILABLE if nothing else score.departure


def primary(score: LayerScore) -> GofSummary | None:
    """The test that tables show; its p-value is NaN, not withheld, where nothing was measured."""
    test = score.tests.get(PRIMARY_TEST)
    if test is None or not math.isnan(test.statistic):
        return test
    return dataclasses.replace(test, pvalue=math.nan, rejected_fraction=math.nan)


def worst_unit(summary: Summary) -> int | None:
    """The index of the worst unit; None where there is none, or where all are alike infinite."""
    alike = math.isinf(summary.worst) and summary.worst == summary.median
    return None if alike else summary.worst_unit


def verdict_legend(view: View = "unit") -> str:
    """What a verdict rests on, and what a p-value beside it is for."""
    words = glossary.VIEW_WORDS[view]
    said = f"Verdict: by delta and its interval (bands {glossary.BANDS})"
    said += "; p only says whether a departure is detectable." if words.has_pvalues else "."
    if words.has_worst:
        said += f" Worst {words.one}: the one with the largest delta, by its index from 0."
    return said


def name_legend(sites: Iterable[str]) -> str:
    """What `:input`, `:function` and `#k` in names stand for; empty where no name has them."""
    names = list(sites)
    found = {re.sub(r"\d+$", "", "".join(re.findall(r":input(?=#|$)|#\d+$", name))) for name in names}
    parts = []
    if ":input#" in found:
        parts.append("`a:input#2`: what `a` receives in its second call.")
    elif ":input" in found:
        parts.append("`a:input`: what `a` receives.")
    if "#" in found:
        parts.append("`a#2`: the second call of `a`.")
    if any(re.search(r":(?!input(#|$))", name) for name in names):
        parts.append("`a:f`: the function `f` called in `a`.")
    return " ".join(["Names:", *parts]) if parts else ""


def is_synthetic(run: Run) -> bool:
    """Whether the model was fed made-up inputs."""
    return run.metadata.data.get("synthetic") is True


def synthetic_sentence(run: Run) -> str | None:
    """The warning owed to every reader of a run on made-up inputs; None where inputs are real."""
    if not is_synthetic(run):
        return None
    said = next(iter(_said_of_data(run)), "").removeprefix("made up: ")
    how = f" ({plain(said)})" if said else ""
    return (
        f"SYNTHETIC INPUTS: the model was fed made-up inputs{how}, not data. "
        "What is said here holds for those inputs only."
    )


def data_notes(run: Run) -> list[str]:
    """What was noted of the inputs, such as NaN in them or a cast; without what the banner says already."""
    return _said_of_data(run)[is_synthetic(run) :]


def _said_of_data(run: Run) -> list[str]:
    notes = run.metadata.data.get("notes")
    return [str(note) for note in notes] if isinstance(notes, list | tuple) else []


def gathered_notes(sites: Iterable[LayerScore | SiteChange]) -> list[tuple[str, list[str]]]:
    """Each different note once, with the sites that carry it, in the order given."""
    notes: dict[str, list[str]] = {}
    for one in sites:
        for note in one.notes:
            notes.setdefault(note, []).append(one.site)
    return list(notes.items())
