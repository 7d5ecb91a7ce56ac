"""What the numbers of a comparison mean, how they are computed and who said so."""

from __future__ import annotations

from gaussprobe.reports import glossary
from gaussprobe.reports.glossary import Method

_PAPER = "Eftekhari & Papyan (2025), ICML, arXiv:2505.00685"

PAIRED: tuple[Method, ...] = (
    Method(
        name="difference",
        title="difference, 95 % interval and p",
        formula="d̄ ∓ t s(d) / √n,  dᵢ = second − first on seed i",
        meaning=(
            "The same seed gives both settings the same initial weights, wherever they share them, and the "
            "same batches in the same order, so what a lucky seed does to both alike drops out. t is the "
            ".975 quantile of Student’s law with n − 1 degrees of freedom, p that of the same law. Exact for "
            "normal differences, on the safe side for heavier tails that are alike on both sides, too narrow "
            "for skewed ones, as where a single seed goes astray."
        ),
        reference="Student (1908), Biometrika 6, 1–25",
    ),
    Method(
        name="ratio",
        title="ratio",
        formula="exp of the same for ln(second / first)",
        meaning="A geometric mean over seeds: 1 where there is no difference.",
    ),
    Method(
        name="adjusted_pvalue",
        title="adjusted p",
        formula="p̃₍ᵢ₎ = maxⱼ≤ᵢ min(1, (m − j + 1) p₍ⱼ₎)  over the m places",
        meaning=(
            "Many layers are compared at once. With p adjusted, the chance of any false claim among them by "
            "one measure is at most the level, whatever depends on what. Measures, metrics and further "
            "settings are not adjusted for each other. Intervals are not adjusted: each holds for its own "
            "layer."
        ),
        reference="Holm (1979), Scand. J. Stat. 6, 65–70",
    ),
    Method(
        name="se",
        title="mean and standard error",
        formula="x̄ (s / √n)  over the n seeds of one setting",
        meaning=(
            "How far the mean of one setting varies by itself. Two settings may differ clearly though their "
            "standard errors overlap, where the differences on the same seeds vary less."
        ),
    ),
)

QQ_R2 = next(method for method in glossary.EFFECTS if method.name == "qq_r2")

MEASURED: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            name="minibatch_qq_r2",
            title="Q-Q R² by minibatch",
            formula="mean over units c and minibatches b of corr(x₍ᵢ₎, mᵢ)²  within (c, b)",
            meaning=(
                "Of each of some units, all values in one minibatch are a sample; the same units in every "
                "setting. Values of one image are not independent, so this differs from the number over "
                "the examples."
            ),
            reference=f"{_PAPER}, figures 5 and 6",
        ),
        Method(
            name="courses",
            title="Q-Q R² over training",
            formula="R² of step t, median over units;  mean ∓ one standard error over seeds",
            meaning=(
                "Taken in training mode on the batch of that step. Noise that a layer adds in training is "
                "in it."
            ),
            reference=f"{_PAPER}, figure 11",
        ),
        Method(
            name="quantiles",
            title="Q-Q plot",
            formula="(mᵢ, (x₍ᵢ₎ − x̄) / s)",
            meaning="A normal sample follows the line of equality.",
            reference=f"{_PAPER}, figure 5",
        ),
        Method(
            name="robustness",
            title="noise robustness",
            formula="√ mean |y′ − y|² / |y|²,  noise η ~ N(0, .3² |x|² / D · I) added to x of D numbers",
            meaning=(
                "How far noise at one place carries to a later one: relative change there, over examples "
                "and draws. A ratio below 1 means that it carries less in the second setting."
            ),
            reference=(f"Arora, Ge, Neyshabur & Zhang (2018), ICML, arXiv:1802.05296; {_PAPER}, table 4"),
        ),
        Method(
            name="henze_zirkler",
            title="Henze–Zirkler",
            formula=(
                "HZ = (1/n) Σᵢⱼ exp(−β² Dᵢⱼ/2) − 2 (1 + β²)⁻¹ Σᵢ exp(−β² Dᵢ / (2 + 2β²)) + n (1 + 2β²)⁻¹"
            ),
            meaning=(
                "Joint normality of two units, mean over pairs; Dᵢⱼ and Dᵢ are squared Mahalanobis "
                "distances of samples from each other and from the mean, β = (5n/4)^(1/6) / √2. About 1 or "
                "less for a normal law, large for others."
            ),
            reference="Henze & Zirkler (1990), Commun. Stat. Theory Methods 19, 3595–3617",
        ),
        Method(
            name="sliced",
            title="sliced Epps–Pulley",
            formula="(1/K) Σₖ T(x θₖ),  θₖ at even angles",
            meaning=(
                "The mean of a statistic of normality over 32 directions of two units: a law is normal if "
                "all its projections are."
            ),
            reference="Epps & Pulley (1983), Biometrika 70, 723–726; Cramér & Wold (1936)",
        ),
        Method(
            name="mutual_information",
            title="mutual information",
            formula="I = ψ(k) + ψ(n) − mean[ψ(n_x + 1) + ψ(n_y + 1)]",
            meaning=(
                "Of two units, in nats, from distances to the k-th neighbour, mean over pairs. About 0 for "
                "independent ones, on both sides of it; an increasing map of each unit does not change it."
            ),
            reference="Kraskov, Stögbauer & Grassberger (2004), Phys. Rev. E 69, 066138",
        ),
        Method(
            name="adjusted_mutual_information",
            title="adjusted mutual information",
            formula="(I − E[I]) / ((H(x) + H(y)) / 2 − E[I])",
            meaning=(
                "Of two units, each cut at its quantiles: 0 in the mean for independent ones, 1 where the "
                "bin of each determines that of the other."
            ),
            reference=f"Vinh, Epps & Bailey (2010), JMLR 11, 2837–2854; {_PAPER}, figure 12",
        ),
        Method(
            name="cost",
            title="cost of a step",
            formula="",
            meaning=(
                "Medians of repeated training steps on one batch, both settings timed in turns; memory is "
                "that of the tensors that autograd keeps from forward to backward, without the parameters, "
                "and on a device the peak over the step."
            ),
            reference=f"{_PAPER}, figure 10",
        ),
    )
}

# Of pairs of units, in the order shown.
PAIR_MEASURES = ("henze_zirkler", "sliced", "mutual_information", "adjusted_mutual_information")

COST_NAME = {
    "forward": "forward, ms",
    "backward": "backward, ms",
    "step": "forward and backward, ms",
    "saved_bytes": "kept for backward, MiB",
    "peak_bytes": "peak on the device, MiB",
}
