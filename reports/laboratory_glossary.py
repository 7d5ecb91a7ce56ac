"""What the numbers of a laboratory mean, how they are computed and who said so."""

from __future__ import annotations

from gaussprobe.reports import glossary
from gaussprobe.reports.glossary import Method

_PAPER = "Wolinski & Arbel (2025), TMLR, arXiv:2205.12379"
_DEPTH = "Schoenholz, Gilmer, Ganguli & Sohl-Dickstein (2017), ICLR, arXiv:1611.01232"

NULLS: tuple[Method, ...] = (
    Method(
        name="draws",
        title="one sample",
        formula="z₁⁽ˡ⁾ = σ_w Wᵀ φ(z⁽ˡ⁻¹⁾) / √fan-in + σ_b b,  W and b drawn anew in each network",
        meaning=(
            "The input is fixed, the weights are random: the first pre-activation of a layer is one value in "
            "each network, and its law over networks is what is tested. Weights of the first layer are "
            "normal, those of the others follow the law named above; biases are normal."
        ),
        reference=_PAPER,
    ),
    Method(
        name="ks_distance",
        title="KS distance, against N(0,1)",
        formula="D = sup |Fₙ(x) − Φ(x)|",
        meaning=(
            "Nothing is estimated: a layer of another scale is far from N(0,1) even where its law is "
            "normal. The interval, of the distance of the law itself, holds whatever the law is."
        ),
        reference=f"Kolmogorov (1933); Massart (1990), Ann. Probab. 18, 1269–1283; {_PAPER}",
    ),
    Method(
        name="fitted_ks_distance",
        title="KS distance, fitted",
        formula="D = sup |Fₙ(x) − Φ((x − x̄) / s)|",
        meaning="The shape alone: against the normal law with the sample’s own mean and sd.",
        reference="Lilliefors (1967), JASA 62, 399–402",
    ),
    Method(
        name="critical_distance",
        title="critical D",
        formula="P(D > d) = level  where the null hypothesis holds",
        meaning=(
            "What D of a single layer exceeds by chance. It falls as 1/√n: with many networks a departure "
            "too small to matter is found, so look at D itself too."
        ),
    ),
    Method(
        name="adjusted_pvalue",
        title="adjusted p",
        formula="p̃₍ᵢ₎ = minⱼ≥ᵢ min(1, m p₍ⱼ₎ / j)  over the m layers",
        meaning=(
            "Each null hypothesis by itself: of the layers that are rejected, on average at most the share "
            "‘level’ is rejected wrongly, if p-values are independent or positively dependent. Layers are "
            "measured on the same networks, so theirs are dependent; that it is positively is taken for "
            "granted here."
        ),
        reference=(
            "Benjamini & Hochberg (1995), J. R. Stat. Soc. B 57, 289–300; Benjamini & Yekutieli (2001), "
            "Ann. Stat. 29, 1165–1188"
        ),
    ),
)

EDGE: tuple[Method, ...] = (
    Method(
        name="predicted_variance",
        title="variance in infinitely wide layers",
        formula="v′ = σ_w² E[φ(√v Z)²] + σ_b²,  v₁ = σ_w² + σ_b²,  Z ~ N(0,1)",
        meaning=(
            "Where layers are infinitely wide their pre-activations are normal with mean 0, so the variance "
            "says all. A fixed point v* is a variance that the map keeps. In v′ and χ₁, σ_w stands for σ_w "
            "times the sd of the law of weights, which is 1 for normal and uniform ones, not for Weibull’s."
        ),
        reference=_DEPTH,
    ),
    Method(
        name="correlation",
        title="correlation of two inputs",
        formula="E[zₐ z_b] / √(E[zₐ²] E[z_b²])  over networks and units",
        meaning=(
            "Two inputs in the plane with mean square 1, so that the first layer has the law it has for the "
            "scalar input 1. The interval is a jackknife over groups of networks. The cosine is that of the "
            "two vectors of one network, in the mean over networks."
        ),
        reference=_PAPER,
    ),
    Method(
        name="chi1",
        title="χ₁",
        formula="χ₁ = ∂c′/∂c at c = 1,  = σ_w² E[φ′(√v* Z)²]",
        meaning=(
            "Whether two inputs that are nearly alike draw together from layer to layer (below 1, ordered) "
            "or apart (above 1, chaotic)."
        ),
        reference=f"Poole et al. (2016), NeurIPS, arXiv:1606.05340; {_DEPTH}",
    ),
    Method(
        name="edge",
        title="edge of chaos",
        formula="σ_w at which χ₁ = 1, for a given σ_b",
        meaning="Between the phases: there a signal goes deepest.",
        reference=f"{_DEPTH}; Hayou, Doucet & Rousseau (2019), ICML, arXiv:1902.06853",
    ),
    Method(
        name="depth",
        title="depth scale",
        formula="|v⁽ˡ⁾ − v*| ~ exp(−l / ξ_v),  |c⁽ˡ⁾ − c*| ~ exp(−l / ξ_c)",
        meaning=(
            "Layers in which the distance to the fixed point falls by a factor e. Infinite on the edge, "
            "where the approach is slower than exponential."
        ),
        reference=_DEPTH,
    ),
)

PAIR = Method(
    name="phi",
    title="φ_θ with Weibull weights",
    formula="W ~ W(θ, 1), X ~ N(0,1)  ⇒  W φ_θ(X) ~ N(0,1)",
    meaning=(
        "Guaranteed: the product of one weight and one activation of a standard normal input is standard "
        "normal, so the second layer is N(0,1) at any width. Not guaranteed: deeper layers wider than 1. The "
        "terms of their sums share inputs and are not independent, so each is normal and the sum need not "
        "be; how far it is from normal is what is measured here."
    ),
    reference=_PAPER,
)

SHAPE: tuple[Method, ...] = tuple(
    method
    for method in glossary.EFFECTS
    if method.name in ("delta", "negentropy", "qq_r2", "wasserstein", "skewness, excess_kurtosis")
)


def groups(activation: str, weight: str, tests: tuple[str, ...]) -> list[tuple[str, tuple[Method, ...]]]:
    """Methods under their headings, those of the pair only where one of it was used.

    Args:
        activation: its name.
        weight: of the law of the weights.
        tests: names of the tests that were run.
    """
    pair = (PAIR,) if activation.startswith("phi") or weight.startswith("weibull") else ()
    found = [
        ("Distance from normality", NULLS),
        ("Infinitely wide layers", (*EDGE, *pair)),
        ("Shape", SHAPE),
        ("Tests", tuple(glossary.describe_test(name) for name in tests)),
    ]
    return [(title, methods) for title, methods in found if methods]
