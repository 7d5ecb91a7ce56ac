"""What the page of a comparison says in words and numbers: no difference is claimed without its interval."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from markupsafe import Markup

from gaussprobe.comparison import Comparison, Pair, SiteComparison, Trial
from gaussprobe.paired import Difference, Ratio, difference, quietly
from gaussprobe.reports import text
from gaussprobe.reports.folding import shortened
from gaussprobe.reports.page import breakable, typeset

CLEAR = 0.05  # an adjusted p-value below it is set in bold
_MOST_LABEL = 40
_SMALLEST = 1e-4  # below it numbers are written with a power of ten


def labels(settings: Sequence[str]) -> dict[str, str]:
    """What settings are called in tables and figures: long names shortened, where they stay apart."""
    short = {name: shortened(name, _MOST_LABEL) for name in settings}
    return short if len(set(short.values())) == len(short) else {name: text.plain(name) for name in settings}


def named(name: str) -> Markup:
    """A name among other words: whichever way its letters run, the words keep their order."""
    return Markup("<bdi>{}</bdi>").format(breakable(name))


def headed(name: str) -> Markup:
    """The same at the head of a column, where it may break within a word too: `BatchNorm` before `Norm`."""
    parts = re.split(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[.:_/-])", text.plain(name))
    return Markup("<bdi>{}</bdi>").format(Markup("<wbr>").join(parts))


def counted(number: int, one: str) -> str:
    """`1 seed`, `6 seeds`."""
    return f"{number:,} {one}{'' if number == 1 else 's'}"


def mean(value: float, se: float = math.nan) -> tuple[str, str]:
    """A mean and its standard error in brackets, to two digits of the error; four digits without one."""
    if not math.isfinite(value) or not math.isfinite(se) or se <= 0 or abs(value) >= 1e6 or se < 1e-6:
        return typeset(text.number(value, 4)), "" if math.isnan(se) else f"({typeset(text.number(se, 2))})"
    decimals = min(max(1 - math.floor(math.log10(se)), 0), 6)
    return typeset(text.pointed(value, decimals)), f"({typeset(text.pointed(se, decimals))})"


def estimate(one: Difference | Ratio | None) -> tuple[str, str]:
    """A difference, with its sign, or a ratio; and its interval, empty where there is none."""
    if one is None:
        return text.NOT_AVAILABLE, ""
    ratio = isinstance(one, Ratio)
    middle = one.ratio if isinstance(one, Ratio) else one.mean
    numbers = (middle, one.low, one.high)
    sizes = [abs(value) for value in numbers if math.isfinite(value)]
    if 0 < max(sizes, default=0) < _SMALLEST:
        texts = [text.number(value) for value in numbers]
    else:
        first, limits = text.interval(*numbers, decimals=5)
        texts = [first, *limits.strip("[]").split(", ")]
    texts = [typeset(each) if ratio else signed(each) for each in texts]
    if math.isnan(one.low) or math.isnan(one.high) or len(texts) < 3:
        return texts[0], ""
    return texts[0], f"[{texts[1]}, {texts[2]}]"


def signed(number: str) -> str:
    """A number's text with its sign, a plus too; zero and what is not available have none."""
    positive = number == "inf" or (number[:1] in tuple(".123456789") and number.strip(".0,") != "")
    return typeset(f"+{number}" if positive else number)


def pvalue(one: Difference | Ratio | None) -> str:
    """The p-value, adjusted where several were compared together."""
    if one is None:
        return text.NOT_AVAILABLE
    return typeset(text.pvalue(one.corrected_pvalue))


def clear(one: Difference | Ratio | None) -> int:
    """1 where the second setting is higher with an adjusted p below .05, -1 where it is lower, else 0.

    The interval of a difference that is called clear never contains 0: adjusting only raises p.
    """
    if one is None:
        return 0
    if math.isnan(one.corrected_pvalue) or one.corrected_pvalue >= CLEAR:
        return 0
    over = one.ratio > 1 if isinstance(one, Ratio) else one.mean > 0
    return 1 if over else -1


def ended(found: Comparison, pair: Pair) -> list[tuple[Trial, Trial]]:
    """Trials of both settings of a pair on each seed that ended in both."""
    first, second = (
        {trial.seed: trial for trial in found.trials if trial.setting == name and not trial.failure}
        for name in (pair.first, pair.second)
    )
    return [(first[seed], second[seed]) for seed in first if seed in second]


def shown_sites(pair: Pair) -> tuple[str, list[SiteComparison]]:
    """The sites that headlines are about, and what they are: layers of normalization where there are any."""
    norms = [site for site in pair.sites if "norm" in site.kind]
    return (
        ("normalization layer", norms) if norms else ("layer", [site for site in pair.sites if site.headline])
    )


def known_sites(found: Comparison, pair: Pair) -> list[SiteComparison]:
    """Those of the sites that headlines are about which have a Q-Q R^2 on every seed that ended in both."""
    tables = [{one.site: one.qq_r2 for one in t.sites} for both in ended(found, pair) for t in both]
    sites = shown_sites(pair)[1] if tables else []
    return [one for one in sites if all(math.isfinite(t.get(one.site, math.nan)) for t in tables)]


def mean_r2(found: Comparison, pair: Pair) -> tuple[float, float, Difference] | None:
    """Q-Q R^2 in the mean over the sites that headlines are about, and its difference seed by seed.

    Returns:
        The means of both settings and the difference; None where there is no seed, or none of `known_sites`.
    """
    names = [site.site for site in known_sites(found, pair)]
    if not names:
        return None
    both = []
    for trials in ended(found, pair):
        tables = [{one.site: one.qq_r2 for one in trial.sites} for trial in trials]
        both.append(tuple(sum(table[name] for name in names) / len(names) for table in tables))
    first, second = ([values[index] for values in both] for index in (0, 1))
    return sum(first) / len(first), sum(second) / len(second), quietly(difference, first, second)


def sentences(found: Comparison, pair: Pair) -> list[Markup]:
    """What to take away of a pair: its first metric, and Q-Q R^2 of its layers."""
    said = []
    name = next(iter(pair.metrics), None)
    if name is not None:
        first, second = _means(found, pair, name)
        said.append(_sentence(named(name), first, second, pair, pair.metrics[name]))
    means = mean_r2(found, pair)
    if means is not None:
        one, sites = shown_sites(pair)
        known = len(known_sites(found, pair))
        of = counted(known, one) if known == len(sites) else f"{known} of {counted(len(sites), one)}"
        subject = Markup("Q-Q R² in the mean over {}").format(of)
        sentence = _sentence(subject, means[0], means[1], pair, means[2])
        said.append(sentence + " " + _layer_by_layer(sites, pair.second) if len(sites) > 1 else sentence)
    return said


def _means(found: Comparison, pair: Pair, name: str) -> list[float]:
    """A metric in both settings, over the seeds of its difference; of each by itself without any."""
    both = [found.metrics[setting][name] for setting in (pair.first, pair.second)]
    tables = [dict(zip(one.seeds, one.values, strict=True)) for one in both]
    shared = [seed for seed in tables[0] if seed in tables[1]]
    if not shared:
        return [one.mean for one in both]
    return [sum(table[seed] for seed in shared) / len(shared) for table in tables]


def _sentence(subject: Markup, first: float, second: float, pair: Pair, one: Difference) -> Markup:
    """Both means, the difference with its interval, and whether the interval contains 0."""
    middle, limits = estimate(one)
    means = Markup("{}: {} with {}, {} with {}").format(
        subject, mean(first)[0], named(pair.first), mean(second)[0], named(pair.second)
    )
    if not limits:
        return Markup("{}. Difference {}, without an interval: {}.").format(means, middle, one.reason)
    verdict = (
        "The interval contains 0: no difference is shown."
        if one.low <= 0 <= one.high
        else Markup("<b>It is {} with {}.</b>").format(
            "higher" if one.mean > 0 else "lower", named(pair.second)
        )
    )
    return Markup('{}. Difference {}, 95 % interval <span class="whole">{}</span>, over {}. {}').format(
        means, middle, limits, counted(one.n_seeds, "seed"), verdict
    )


def _layer_by_layer(sites: Sequence[SiteComparison], second: str) -> Markup:
    found = [clear(site.differences.get("qq_r2")) for site in sites]
    higher, lower = found.count(1), found.count(-1)
    if not higher and not lower:
        return Markup("Layer by layer, no adjusted p is below .05.")
    return Markup(
        "Layer by layer the adjusted p is below .05 at {} of {}: higher with {} at {}, lower at {}."
    ).format(higher + lower, len(found), named(second), higher, lower)
