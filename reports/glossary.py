"""What the words and numbers of a report mean, how they are computed and who said so."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from gaussprobe.types import Departure, Source, Verdict, View

BAND_LOW = 0.0025
BAND_HIGH = 0.015
LOW = f"{BAND_LOW:g}".lstrip("0")
HIGH = f"{BAND_HIGH:g}".lstrip("0")
BANDS = f"{LOW} and {HIGH}"


def spread(delta: float) -> float:
    """Where a delta stands on an axis that is linear up to the lower band and logarithmic from there.

    `asinh(delta / .0025)`: near 0, where delta is noise of either sign, a cube root would magnify it.
    """
    return math.asinh(delta / BAND_LOW)


VERDICT_MEANING: dict[Verdict, str] = {
    "gaussian": f"the whole interval of delta lies below {LOW}",
    "near-gaussian": f"the interval lies below {HIGH}, not wholly below {LOW}",
    "non-gaussian": f"the whole interval lies at or above {HIGH}",
    "undetermined": f"the interval reaches across {HIGH}, or there is none; more samples may help",
}

DEPARTURE_MEANING: dict[Departure, str] = {
    "none": "delta is in the gaussian band, or cannot be told from 0",
    "right-skewed": "the longer tail is to the right",
    "left-skewed": "the longer tail is to the left",
    "heavy-tailed": "more mass far out than a normal law has",
    "light-tailed": "less mass far out than a normal law has",
    "multimodal": "two or more peaks with a real valley between them",
    "atoms": "single values recur, such as the zeros of a ReLU",
    "discrete": "a few values make up nearly the whole sample",
    "constant": "no variation: nothing to test",
    "non-finite": "NaN or infinity passed here",
}

VIEW_MEANING: dict[View, str] = {
    "unit": "each unit across independent examples",
    "layer": "units standardised one by one, then pooled",
    "example": "the vector of one example across units",
    "init": "each unit across random initializations, at one input",
}


SOURCE_NAME: dict[Source, str] = {"forward": "training forward", "probe": "fixed batch"}

SOURCE_MEANING: dict[Source, str] = {
    "forward": "the training forward",
    "probe": "the fixed batch in evaluation mode",
}


@dataclass(frozen=True, kw_only=True)
class ViewWords:
    """How a report speaks of what was measured under a view.

    Args:
        one: what one tested sample is; a site has several of them, or one `"pooled sample"`.
        size: what `n_tested` counts.
        each: what the one number of a site is.
        has_worst: whether a site has several tested samples, one of them the worst.
        has_pvalues: whether they are of independent values, so that there are p-values.
        rows: what is independent of one another, as far as anything is.
    """

    one: str
    size: str
    each: str
    has_worst: bool = True
    has_pvalues: bool = False
    rows: str = "examples"


VIEW_WORDS: dict[View, ViewWords] = {
    "unit": ViewWords(
        one="unit",
        size="samples per unit",
        each="the median over the units of a site",
        has_pvalues=True,
    ),
    "layer": ViewWords(
        one="pooled sample",
        size="pooled values",
        each="that of all values of a site, pooled after each unit was standardised by itself",
        has_worst=False,
    ),
    "example": ViewWords(
        one="example",
        size="units per example",
        each="the median over the examples of a site, each a sample of the values of its units",
    ),
    "init": ViewWords(
        one="unit",
        size="initializations",
        each="the median over the units of a site",
        has_pvalues=True,
        rows="initializations",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Method:
    """One quantity of a report.

    Args:
        name: as the JSON form has it.
        title: as a reader knows it.
        formula: in plain characters.
        meaning: one or two sentences.
        reference: authors, year, place; empty where the definition is the whole story.
    """

    name: str
    title: str
    formula: str
    meaning: str
    reference: str = ""


EFFECTS: tuple[Method, ...] = (
    Method(
        name="delta",
        title="delta",
        formula="δ = 1 − R² − E₀[1 − R²],  R = corr(x₍ᵢ₎, mᵢ),  mᵢ = Φ⁻¹((i − 3/8) / (n + 1/4))",
        meaning=(
            "How far the Q-Q plot is from a straight line, less what a normal sample of the same size shows "
            "on average; it can be slightly negative. The verdict rests on that of the site and "
            "its 95 % interval (jackknife over 20 groups of examples, on a logarithmic scale)."
        ),
        reference="Blom (1958), Statistical Estimates and Transformed Beta-Variables",
    ),
    Method(
        name="negentropy",
        title="negentropy J",
        formula="J = ½ ln(2πe s²) − Ĥ,  Ĥ = −(1/n) Σᵢ [ψ(kᵢ) − ψ(n + 1) − ln(x₍ᵢ₊ₘ₎ − x₍ᵢ₋ₘ₎)]",
        meaning=(
            "Entropy short of that of a normal law with the same variance, in nats; zero only for a normal "
            "law. Estimated from spacings of the ordered sample with windows tapered at the ends, less its "
            "mean for normal samples. Infinite where values recur (atoms)."
        ),
        reference="after Vasicek (1976), J. R. Stat. Soc. B 38, 54–59",
    ),
    Method(
        name="qq_r2",
        title="Q-Q R²",
        formula="R² = corr(x₍ᵢ₎, mᵢ)²",
        meaning="Share of the Q-Q plot that a straight line explains, as measured.",
        reference="Blom (1958)",
    ),
    Method(
        name="ks_distance",
        title="KS distance",
        formula="D = sup |Fₙ(x) − Φ((x − x̄) / s)|",
        meaning="Largest gap between the sample’s distribution function and the fitted normal one.",
        reference="Lilliefors (1967)",
    ),
    Method(
        name="wasserstein",
        title="Wasserstein-2 distance",
        formula="W₂ = √(∫₀¹ [Fₙ⁻¹(u) − x̄ − s Φ⁻¹(u)]² du) / s",
        meaning="Distance to the fitted normal law, in standard deviations.",
    ),
    Method(
        name="skewness, excess_kurtosis",
        title="skewness and excess kurtosis",
        formula="g₁ = m₃ / √(m₂³),  g₂ = m₄ / m₂² − 3",
        meaning=(
            "Shown, and nothing decided by them: under heavy tails they grow with n. "
            "The kind of departure comes from L-skewness and L-kurtosis instead."
        ),
    ),
    Method(
        name="departure",
        title="departure",
        formula="|τ₃| / .432  against  |τ₄ − .1226| / .297",
        meaning=(
            "First match of: non-finite, constant, discrete, atoms, none, multimodal (a valley in a kernel "
            "density); else the larger of L-skewness and L-kurtosis, scaled to be comparable, says "
            "skewed, or heavy- or light-tailed."
        ),
        reference="Hosking (1990), J. R. Stat. Soc. B 52, 105–124",
    ),
)

TESTS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            name="shapiro_wilk",
            title="Shapiro–Wilk",
            formula="W = (Σ aᵢ x₍ᵢ₎)² / Σ (xᵢ − x̄)²",
            meaning="Small W speaks against a normal law.",
            reference=(
                "Shapiro & Wilk (1965), Biometrika 52, 591–611; Royston (1995), Appl. Stat. 44, 547–551"
            ),
        ),
        Method(
            name="shapiro_francia",
            title="Shapiro–Francia",
            formula="W′ = corr(x₍ᵢ₎, mᵢ)²",
            meaning="Shapiro–Wilk with normal scores for weights.",
            reference="Shapiro & Francia (1972), JASA 67, 215–216; Royston (1993)",
        ),
        Method(
            name="lilliefors",
            title="Lilliefors",
            formula="D = sup |Fₙ(x) − Φ((x − x̄) / s)|",
            meaning="Kolmogorov–Smirnov, with tables that allow for the mean and variance being estimated.",
            reference="Lilliefors (1967), JASA 62, 399–402",
        ),
        Method(
            name="anderson_darling",
            title="Anderson–Darling",
            formula="A² = −n − (1/n) Σ (2i − 1) [ln uᵢ + ln(1 − uₙ₊₁₋ᵢ)],  uᵢ = Φ((x₍ᵢ₎ − x̄) / s)",
            meaning="Weights both tails.",
            reference=(
                "Anderson & Darling (1954), JASA 49, 765–769; "
                "D’Agostino & Stephens (1986), Goodness-of-Fit Techniques, table 4.9"
            ),
        ),
        Method(
            name="cramer_von_mises",
            title="Cramér–von Mises",
            formula="W² = 1/(12n) + Σ (uᵢ − (2i − 1)/(2n))²",
            meaning="Mean square gap between the two distribution functions.",
            reference="D’Agostino & Stephens (1986)",
        ),
        Method(
            name="watson",
            title="Watson",
            formula="U² = W² − n (ū − ½)²",
            meaning="Cramér–von Mises without the part due to a shift.",
            reference="Watson (1961); D’Agostino & Stephens (1986)",
        ),
        Method(
            name="jarque_bera",
            title="Jarque–Bera",
            formula="JB = n (g₁²/6 + g₂²/24)",
            meaning="Skewness and kurtosis at once.",
            reference="Jarque & Bera (1980), Econ. Lett. 6, 255–259",
        ),
        Method(
            name="dagostino_pearson",
            title="D’Agostino–Pearson",
            formula="K² = Z(g₁)² + Z(g₂)²",
            meaning="Skewness and kurtosis, each made nearly normal first.",
            reference="D’Agostino & Pearson (1973), Biometrika 60, 613–622",
        ),
        Method(
            name="epps_pulley",
            title="Epps–Pulley",
            formula="T = n ∫ |φₙ(t) − exp(−t²/2)|² w(t) dt",
            meaning="Distance between characteristic functions of the standardised sample.",
            reference="Epps & Pulley (1983), Biometrika 70, 723–726",
        ),
        Method(
            name="vasicek",
            title="Vasicek",
            formula="K = exp(Ĥ) / s",
            meaning="Entropy from spacings, against the largest that this variance allows.",
            reference="Vasicek (1976), J. R. Stat. Soc. B 38, 54–59",
        ),
    )
}

MULTIPLICITY: tuple[Method, ...] = (
    Method(
        name="pvalue",
        title="p",
        formula="p = minₖ m p₍ₖ₎ / k  over the m units",
        meaning="One p-value per site: is every unit normal?",
        reference="Simes (1986), Biometrika 73, 751–754",
    ),
    Method(
        name="rejected_fraction",
        title="rejected",
        formula="largest k with p₍ₖ₎ ≤ .05 k / m,  then k / m",
        meaning="Share of units rejected with the false discovery rate held at .05.",
        reference="Benjamini & Hochberg (1995), J. R. Stat. Soc. B 57, 289–300",
    ),
)

TRAINING: tuple[Method, ...] = (
    Method(
        name="drift",
        title="drift",
        formula="median of the last 5 records of δ − median of its first 5",
        meaning=(
            "How far delta of a site went. Of fewer than ten records the last and the first half; records "
            "that could not be measured are left out."
        ),
    ),
    Method(
        name="l_skewness, l_kurtosis",
        title="L-skewness and L-kurtosis",
        formula="τ₃ = λ₃ / λ₂,  τ₄ = λ₄ / λ₂",
        meaning=(
            "Ratios of L-moments, which heavy tails do not blow up: 0 and .1226 for a normal law, "
            "never beyond ±1."
        ),
        reference="Hosking (1990), J. R. Stat. Soc. B 52, 105–124",
    ),
    Method(
        name="errors",
        title="bands around the lines",
        formula="",
        meaning=(
            "Of delta its 95 % interval; of mean, sd, L-skewness and L-kurtosis one standard error over the "
            "examples of that step. Moments without a band have no standard error."
        ),
    ),
    Method(
        name="events",
        title="events",
        formula="|z| > 4.5 twice in a row with one sign,  z = (value − median of the last 30) / scale",
        meaning=(
            "A jump of delta, L-skewness, L-kurtosis, log sd or mean/sd; the scale is the largest of the sd "
            "of those records, the median absolute change from record to record and the standard error "
            "within the step, and with fewer than 30 records the limit is higher. The Gaussian band is left "
            "or entered by two 99 % verdicts in a row. Units die when they become constant, or have no "
            "positive value where their earlier rate makes that less likely than 1e-6."
        ),
    ),
    Method(
        name="association",
        title="association with a metric",
        formula="r(lag) = Σₜ u(t) v(t + lag) / √(Σ u² Σ v²),  u and v ranks of changes from record to record",
        meaning=(
            "Each change of the site’s quantity and of the metric is ranked among its neighbours, so that "
            "trends do not correlate; at the lag where r is strongest, positive where the site leads. "
            "p is of the strongest over all lags, by resampling blocks of the metric, and is adjusted over "
            "all sites and quantities. Going together is not causing."
        ),
        reference="Benjamini & Hochberg (1995), J. R. Stat. Soc. B 57, 289–300",
    ),
)

LARGE_N = (
    "With many samples a test rejects departures too small to matter, and with few it misses large ones. "
    "The verdict therefore never rests on a p-value; p-values are given beside the effect sizes, with the "
    "number of samples that was really tested."
)


def effects(view: View) -> tuple[Method, ...]:
    """The effect sizes as they are had under a view."""
    rows = VIEW_WORDS[view].rows
    return tuple(replace(each, meaning=each.meaning.replace("of examples", f"of {rows}")) for each in EFFECTS)


def describe_test(name: str) -> Method:
    """How a test is described; a bare name for one that is not described here."""
    return TESTS.get(name, Method(name=name, title=name.replace("_", " "), formula="", meaning=""))
