"""Finished runs for the tests of whatever reads one: a realistic one made of literals, and any at all."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, get_args

import numpy as np
from hypothesis import strategies as st
from scipy import special

from gaussprobe.types import (
    KINDS,
    VERDICTS,
    CaptureRecord,
    Departure,
    GofSummary,
    Kind,
    LayerScore,
    Metadata,
    NotCaptured,
    Run,
    SitePicture,
    Summary,
    UnitPicture,
    Verdict,
)

NAN = math.nan
DEPENDENT = "p-values are withheld: rows are 4 positions per example and may be dependent"
TESTS = ("shapiro_wilk", "lilliefors", "anderson_darling", "dagostino_pearson")


def summary(median: float, low: float, high: float, worst: float, worst_unit: int | None) -> Summary:
    """A `Summary` by position."""
    return Summary(median=median, low=low, high=high, worst=worst, worst_unit=worst_unit)


def score(
    site: str,
    kind: tuple[Kind, ...],
    verdict: Verdict,
    departure: Departure,
    delta: Summary,
    negentropy: Summary,
    *,
    pvalue: float | None = 2.5e-9,
    rejected: float | None = 1.0,
    **others: Any,
) -> LayerScore:
    """A `LayerScore` whose lesser numbers follow from its delta."""
    size = delta.median
    numbers: dict[str, Any] = {
        "step": 0,
        "n_seen": 100_352,
        "n_tested": 2_048,
        "num_features": 64,
        "qq_r2": 1 - size,
        "ks_distance": 0.4 * size,
        "wasserstein": math.sqrt(max(2 * size, 0.0)),
        "skewness": 3 * size,
        "excess_kurtosis": 40 * size,
    }
    tests = {
        name: GofSummary(statistic=1 + index - size, pvalue=pvalue, rejected_fraction=rejected)
        for index, name in enumerate(TESTS)
    }
    numbers |= {"tests": tests} | others
    return LayerScore(
        site=site,
        kind=kind,
        verdict=verdict,
        departure=departure,
        delta=delta,
        negentropy=negentropy,
        **numbers,
    )


def unit_picture(x: np.ndarray, unit: int, role: Any, delta: float, bins: int = 40) -> UnitPicture:
    """The picture of one sample: a histogram within four standard deviations and a Q-Q plot at 65 points."""
    mean, sd = float(x.mean()), float(x.std(ddof=1))
    edges = np.linspace(max(x.min(), mean - 4 * sd), min(x.max(), mean + 4 * sd), bins + 1)
    counts, _ = np.histogram(x, edges)
    p = (np.linspace(1, len(x), 65) - 0.375) / (len(x) + 0.25)
    return UnitPicture(
        unit=unit,
        role=role,
        mean=mean,
        sd=sd,
        delta=delta,
        edges=tuple(edges.tolist()),
        counts=tuple(counts.tolist()),
        below=int((x < edges[0]).sum()),
        above=int((x > edges[-1]).sum()),
        qq_normal=tuple(special.ndtri(p).tolist()),
        qq_sample=tuple(((np.quantile(x, p) - mean) / sd).tolist()),
    )


def _scores() -> tuple[LayerScore, ...]:
    nothing = summary(NAN, NAN, NAN, NAN, None)
    return (
        score(
            "stem.conv",
            ("affine",),
            "gaussian",
            "none",
            summary(0.00042, 0.00011, 0.00083, 0.0019, 7),
            summary(0.0011, -0.0004, 0.0026, 0.0081, 7),
            pvalue=0.21,
            rejected=0.0,
        ),
        score(
            "stem.norm",
            ("preactivation", "norm"),
            "near-gaussian",
            "light-tailed",
            summary(0.0061, 0.0049, 0.0074, 0.0142, 31),
            summary(0.0132, 0.0101, 0.0163, 0.0301, 31),
            pvalue=0.000321,
            rejected=0.171875,
        ),
        score(
            "stem.relu",
            ("activation",),
            "non-gaussian",
            "atoms",
            summary(0.312, 0.297, 0.326, 0.52, 3),
            summary(math.inf, math.inf, math.inf, math.inf, 0),
            pvalue=0.0,
        ),
        score(
            "layers.0.attention.q_proj",
            ("affine",),
            "undetermined",
            "left-skewed",
            summary(0.0162, 0.0118, 0.0211, 0.0402, 5),
            summary(0.0297, 0.0204, 0.0391, 0.0712, 5),
            pvalue=None,
            rejected=None,
            num_features=192,
            notes=(DEPENDENT,),
        ),
        score(
            "layers.0.mlp.up[gate]",
            ("affine", "preactivation"),
            "non-gaussian",
            "heavy-tailed",
            summary(0.0412, 0.0371, 0.046, 0.231, 17),
            summary(0.0698, 0.0611, 0.0779, 0.404, 17),
            num_features=768,
        ),
        score(
            "layers.0:gelu:input",
            ("preactivation",),
            "non-gaussian",
            "right-skewed",
            summary(0.0283, 0.0244, 0.0325, 0.0871, 40),
            summary(0.0461, 0.0402, 0.0517, 0.151, 40),
            pvalue=None,
            rejected=None,
            num_features=768,
            notes=(DEPENDENT,),
        ),
        score(
            "layers.0:gelu",
            ("activation",),
            "non-gaussian",
            "right-skewed",
            summary(0.187, 0.179, 0.196, 0.301, 40),
            summary(0.412, 0.391, 0.435, 0.66, 40),
        ),
        score(
            "encoder.layers.11.self_attention.output.dense#2",
            ("affine",),
            "non-gaussian",
            "multimodal",
            summary(0.0774, 0.0702, 0.0849, 0.142, 511),
            summary(0.121, 0.108, 0.135, 0.244, 511),
            num_features=512,
        ),
        score(
            "heads.quantised",
            ("affine",),
            "non-gaussian",
            "discrete",
            summary(0.0208, 0.0196, 0.0221, 0.0312, 2),
            summary(math.inf, math.inf, math.inf, math.inf, 0),
            num_features=10,
        ),
        score(
            "heads.aux",
            ("affine",),
            "undetermined",
            "non-finite",
            nothing,
            nothing,
            pvalue=NAN,
            rejected=NAN,
            num_features=10,
            qq_r2=NAN,
            ks_distance=NAN,
            wasserstein=NAN,
            skewness=NAN,
            excess_kurtosis=NAN,
            notes=("37 of 204,800 values are NaN, in 2 of 10 units", DEPENDENT),
        ),
        score(
            "heads.unused",
            ("affine",),
            "undetermined",
            "constant",
            nothing,
            nothing,
            pvalue=NAN,
            rejected=NAN,
            n_seen=512,
            n_tested=512,
            num_features=1,
            wasserstein=NAN,
            notes=("1 of 1 unit is constant",),
        ),
    )


def _pictures(scores: tuple[LayerScore, ...]) -> tuple[SitePicture, ...]:
    rng = np.random.default_rng(20260101)
    n = 2_048
    normal = rng.standard_normal((12, n))
    draws = {
        "none": (normal[0], normal[1]),
        "light-tailed": (rng.uniform(-1, 1, n) + 0.5 * normal[2], rng.uniform(-1, 1, n)),
        "atoms": (np.maximum(normal[3], 0), np.maximum(normal[4] - 1, 0)),
        "left-skewed": (-rng.gamma(9, size=n), -rng.gamma(4, size=n)),
        "heavy-tailed": (3 + 0.02 * rng.standard_t(5, n), 3 + 0.02 * rng.standard_t(2, n)),
        "right-skewed": (rng.gamma(6, size=n), rng.gamma(2, size=n)),
        "multimodal": (normal[5] + 2 * rng.choice((-1, 1), n), normal[6] + 3 * rng.choice((-1, 1), n)),
        "discrete": (np.round(normal[7] * 4) / 8, np.round(normal[8] * 2) / 8),
    }
    pictures = []
    for one in scores:
        median, worst = draws.get(one.departure, (None, None))
        units: tuple[UnitPicture, ...] = ()
        if median is not None and worst is not None:
            units = (
                unit_picture(median, 12, "median", one.delta.median),
                unit_picture(worst, one.delta.worst_unit or 0, "worst", one.delta.worst),
            )
        pictures.append(SitePicture(site=one.site, step=one.step, units=units))
    return tuple(pictures)


def build_run(*, synthetic: bool = True, **replaced: Any) -> Run:
    """A run with every verdict and most departures, NaN, infinities, withheld p-values and gaps.

    Args:
        synthetic: whether its inputs were made up.
        replaced: fields of `Run` to put in place of the built ones.

    Returns:
        The same run each time.
    """
    data: dict[str, Any] = {
        "source": "synthetic" if synthetic else "images.npz",
        "kind": "image",
        "synthetic": synthetic,
        "n_examples": 2_048,
        "batch_size": 64,
        "notes": ["made up: N(0, 1); shape (3, 32, 32) from the first layer"] if synthetic else [],
    }
    metadata = Metadata(
        gaussprobe="0.1.0",
        model="models/classifier.pt",
        view="unit",
        mode="eval",
        seed=7,
        max_samples=2_048,
        data=data,
        command="gaussprobe scan models/classifier.pt --html report.html --seed 7",
        created="2026-01-02T03:04:05+00:00",
        seconds=4.25,
        versions={"python": "3.12.1", "torch": "2.9.0", "numpy": "2.2.0", "scipy": "1.15.0"},
    )
    scores = _scores()
    run = Run(
        metadata=metadata,
        scores=scores,
        pictures=_pictures(scores),
        capture=tuple(
            CaptureRecord(
                site=score.site,
                kind=score.kind,
                calls=14 if index else 3,
                sampled=True,
                positions_available=196 if "conv" in score.site else 1,
                overwritten=14 * (index == 1),
            )
            for index, score in enumerate(scores)
        ),
        not_captured=(
            NotCaptured(site="layers.0.attention", reason="fused attention: its inside needs --deep"),
            NotCaptured(site="heads.spare", reason="never called in the forward pass"),
        ),
        warnings=(
            "The forward pass took its first 2 of 3 tuple elements; the last was taken as the target.",
        ),
    )
    return dataclasses.replace(run, **replaced)


NOTED = ("1 of 40,000 values are NaN", "integers (int64) were cast to float32, unscaled")


def noted_run() -> Run:
    """The run on real inputs of which something was noted."""
    run = build_run(synthetic=False)
    data = {**run.metadata.data, "notes": list(NOTED)}
    return dataclasses.replace(run, metadata=dataclasses.replace(run.metadata, data=data))


def unmeasured(base: LayerScore, **replaced: Any) -> LayerScore:
    """The score with nothing measured: as of a layer with too few samples."""
    nothing = summary(NAN, NAN, NAN, NAN, None)
    tests = {name: GofSummary(statistic=NAN, pvalue=None, rejected_fraction=None) for name in TESTS}
    numbers = dict.fromkeys(("qq_r2", "ks_distance", "wasserstein", "skewness", "excess_kurtosis"), NAN)
    fields: dict[str, Any] = {
        "delta": nothing,
        "negentropy": nothing,
        "tests": tests,
        "verdict": "undetermined",
        "departure": "none",
        "n_seen": 5,
        "n_tested": 5,
        "notes": ("5 samples per unit; at least 8 are needed",),
    }
    return dataclasses.replace(base, **(numbers | fields | replaced))


def short_run() -> Run:
    """The run with five samples per unit: nothing measured anywhere."""
    run = build_run(synthetic=False, pictures=())
    return dataclasses.replace(run, scores=tuple(unmeasured(score) for score in run.scores[:3]))


def renamed(run: Run, old: str, new: str) -> Run:
    """The run with one site named otherwise, in its scores and pictures alike."""

    def swap(item: Any) -> Any:
        return dataclasses.replace(item, site=new) if item.site == old else item

    return dataclasses.replace(
        run, scores=tuple(map(swap, run.scores)), pictures=tuple(map(swap, run.pictures))
    )


def many_sites(count: int) -> Run:
    """A run of `count` sites, each drawn: what a deep network gives."""
    base = build_run()
    scores, pictures = [], []
    for index in range(count):
        site = f"blocks.{index // 10}.layer.{index}"
        scores.append(dataclasses.replace(base.scores[index % 9], site=site))
        pictures.append(dataclasses.replace(base.pictures[index % 9], site=site))
    return dataclasses.replace(base, scores=tuple(scores), pictures=tuple(pictures))


numbers = st.floats(allow_nan=True, allow_infinity=True)
counts = st.integers(min_value=0, max_value=2**62)
words = st.text(max_size=12)
json_data = st.recursive(
    st.none() | st.booleans() | st.integers() | numbers | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)
summaries = st.builds(
    Summary, median=numbers, low=numbers, high=numbers, worst=numbers, worst_unit=st.none() | counts
)
optional = st.none() | numbers
gof_summaries = st.builds(GofSummary, statistic=numbers, pvalue=optional, rejected_fraction=optional)


@st.composite
def unit_pictures(draw: st.DrawFn) -> UnitPicture:
    bins, points = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    return UnitPicture(
        unit=draw(counts),
        role=draw(st.sampled_from(("median", "worst"))),
        mean=draw(numbers),
        sd=draw(numbers),
        delta=draw(numbers),
        edges=tuple(draw(st.lists(numbers, min_size=bins + 1, max_size=bins + 1))),
        counts=tuple(draw(st.lists(counts, min_size=bins, max_size=bins))),
        below=draw(counts),
        above=draw(counts),
        qq_normal=tuple(draw(st.lists(numbers, min_size=points, max_size=points))),
        qq_sample=tuple(draw(st.lists(numbers, min_size=points, max_size=points))),
    )


scores = st.builds(
    LayerScore,
    site=words,
    kind=st.lists(st.sampled_from(KINDS), unique=True).map(tuple),
    step=counts,
    n_seen=counts,
    n_tested=counts,
    num_features=counts,
    delta=summaries,
    negentropy=summaries,
    qq_r2=numbers,
    ks_distance=numbers,
    wasserstein=numbers,
    skewness=numbers,
    excess_kurtosis=numbers,
    tests=st.dictionaries(words, gof_summaries, max_size=3),
    verdict=st.sampled_from(VERDICTS),
    departure=st.sampled_from(get_args(Departure)),
    notes=st.lists(words, max_size=2).map(tuple),
)
pictures = st.builds(
    SitePicture, site=words, step=counts, units=st.lists(unit_pictures(), max_size=2).map(tuple)
)
runs = st.builds(
    Run,
    metadata=st.builds(
        lambda **fields: dataclasses.replace(build_run().metadata, **fields),
        model=words,
        seed=st.integers(-(2**70), 2**70),
        seconds=numbers,
        data=st.dictionaries(words, json_data, max_size=3),
        versions=st.dictionaries(words, words, max_size=3),
    ),
    scores=st.lists(scores, max_size=3).map(tuple),
    pictures=st.lists(pictures, max_size=2).map(tuple),
    capture=st.lists(
        st.builds(
            CaptureRecord,
            site=words,
            kind=st.sets(st.sampled_from(KINDS)).map(lambda kinds: tuple(k for k in KINDS if k in kinds)),
            calls=counts,
            sampled=st.booleans(),
            positions_available=counts,
            positions_per_example=counts,
            overwritten=counts,
            recomputed=counts,
        ),
        max_size=3,
    ).map(tuple),
    not_captured=st.lists(st.builds(NotCaptured, site=words, reason=words), max_size=2).map(tuple),
    warnings=st.lists(words, max_size=2).map(tuple),
)
