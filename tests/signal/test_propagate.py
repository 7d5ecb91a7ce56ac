"""Laws of pre-activations over draws of the weights."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstwo

from gaussprobe import signal, stats
from gaussprobe.errors import ConstantSampleWarning, NonFiniteSampleWarning
from gaussprobe.propagated import PROBABILITIES
from gaussprobe.signal import laws, walk
from gaussprobe.signal.networks import Networks, networks
from gaussprobe.signal.weights import NORMAL
from gaussprobe.stats import critical
from tests.needs import CUDA

ROOT_2 = math.sqrt(2)


def asked(activation: Any, draws: int, **given: Any) -> Networks:
    """Networks as `propagate` makes them."""
    plain = {"sigma_w": 1.0, "sigma_b": 0.0, "weight": "normal", "seed": 0, "x": None}
    return networks(activation, draws=draws, **{**plain, "kernel_size": None, "device": None, **given})


def firsts(found: Networks, draws: int) -> torch.Tensor:
    """First pre-activations, `(layers, draws)`."""
    return torch.cat([one.firsts for one in walk.run(found, walk.chunks(found, draws))], dim=1)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of a few networks."""
    monkeypatch.setattr(walk, "_CHUNK_CPU", 2**10)


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """torch on that many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


# ---- the paper ----


@pytest.mark.parametrize(("widths", "distance"), [([1, 1], 0.2512), ([1, 1, 1], 0.3764)])
def test_distances_of_narrow_relu_networks(widths: list[int], distance: float) -> None:
    """ReLU of width 1 has the distances that quadrature gives of Wolinski & Arbel's networks.

    The distance is taken at the atom at 0, where the error is that of a share: 4 standard errors.
    """
    draws = 200_000
    found = signal.propagate("relu", widths=widths, draws=draws, sigma_w=ROOT_2)
    assert found.ks_distance[-1] == pytest.approx(distance, abs=4 * math.sqrt(0.25 / draws))
    assert found[-1].ks_low < distance < found[-1].ks_high


def test_tanh_shrinks_to_its_fixed_point() -> None:
    """At (1.46, .013) the variance tends to .303, which alone makes D .140; the fitted normal law is near.

    Width 100 and 24 layers: the variance is within 4 standard errors and .03 that finite width and depth
    leave.
    """
    found = signal.propagate("tanh", widths=[100] * 24, draws=2_000, sigma_w=1.46**0.5, sigma_b=0.013**0.5)
    assert found.sd[-1] ** 2 == pytest.approx(0.303, abs=4 * 0.303 * math.sqrt(2 / 2_000) + 0.03)
    assert found.ks_distance[-1] == pytest.approx(0.140, abs=4 * math.sqrt(0.25 / 2_000))
    assert found.fitted_ks_distance[-1] < 0.04


# ---- the networks themselves ----


@pytest.mark.parametrize("weight", ["normal", "uniform", ("weibull", 3.0)])
@pytest.mark.parametrize("sigma_b", [0.0, 0.3])
@pytest.mark.usefixtures("small_chunks")
def test_networks_one_by_one(weight: Any, sigma_b: float) -> None:
    """Every network is that which a plain loop makes of the same numbers, in float64."""
    x = torch.tensor([0.5, -1.0, 2.0])
    found = asked("tanh", 100, widths=[7, 1, 4], sigma_w=1.3, sigma_b=sigma_b, weight=weight, x=x)
    cut = walk.chunks(found, 100)
    expected = []
    for chunk in cut:
        source = walk.generator(found, chunk)
        drawn = []
        for layer, (width, fan) in enumerate([(7, 3), (1, 7), (4, 1)]):
            law = found.weight if layer else NORMAL
            w = law.draw((chunk.count, width, fan), source).double()
            b = (
                NORMAL.draw((chunk.count, width), source).double()
                if sigma_b
                else torch.zeros(chunk.count, width)
            )
            drawn.append((w, b.double()))
        for i in range(chunk.count):
            a, own = x.double(), []
            for w, b in drawn:
                z = F.linear(a, 1.3 * w[i] / math.sqrt(w.shape[2]), sigma_b * b[i])
                own.append(float(z[0]))
                a = torch.tanh(z)
            expected.append(own)
    assert len(cut) > 2
    torch.testing.assert_close(
        firsts(found, 100).double().t(), torch.tensor(expected).double(), rtol=1e-5, atol=1e-6
    )


@pytest.mark.usefixtures("small_chunks")
def test_chunks_differ() -> None:
    """No two chunks draw the same, and the first ones do not depend on how many follow."""
    few, many = (firsts(asked("tanh", draws, widths=[8, 8]), draws) for draws in (100, 400))
    assert len(set(many.flatten().tolist())) == many.numel()
    step = walk.chunks(asked("tanh", 400, widths=[8, 8]), 400)[0].count
    whole = 100 // step * step
    assert whole > 0
    assert torch.equal(few[:, :whole], many[:, :whole])


def test_threads_change_nothing(threads: int) -> None:
    """Results are bit for bit those of one thread, also with an activation of several operations."""
    found = signal.propagate(
        "mish", widths=[10] * 6, draws=3_000, sigma_b=0.1, seed=7, x=[[1.0, 2.0], [3.0, 1.0]]
    )
    torch.set_num_threads(1)
    again = signal.propagate(
        "mish", widths=[10] * 6, draws=3_000, sigma_b=0.1, seed=7, x=[[1.0, 2.0], [3.0, 1.0]]
    )
    assert found == again


def test_the_seed_decides() -> None:
    """The same seed gives the same networks, another one others; the global generator is left alone."""
    before = torch.get_rng_state()
    one, same, other = (signal.propagate("relu", widths=[3, 3], draws=50, seed=s) for s in (5, 5, 6))
    assert one == same
    assert one.ks_distance[0] != other.ks_distance[0]
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    "mode",
    [
        torch.inference_mode(),
        torch.enable_grad(),
        torch.autocast("cpu", dtype=torch.bfloat16),
        torch.device("meta"),
    ],
)
def test_modes_of_the_caller(mode: Any) -> None:
    """Inference mode, autocast and a default device leave results alone."""
    plain = signal.propagate("relu", widths=[5, 5], draws=2_000, sigma_w=ROOT_2)
    with mode:
        assert signal.propagate("relu", widths=[5, 5], draws=2_000, sigma_w=ROOT_2) == plain


def test_default_dtype_of_the_caller() -> None:
    """A default of float64 leaves results alone."""
    plain = signal.propagate("relu", widths=[5, 5], draws=500, sigma_b=0.5)
    torch.set_default_dtype(torch.float64)
    try:
        assert signal.propagate("relu", widths=[5, 5], draws=500, sigma_b=0.5) == plain
    finally:
        torch.set_default_dtype(torch.float32)


def test_activations_that_write_or_widen() -> None:
    """One that works in place and one that gives float64 are as good as the plain one."""
    plain = signal.propagate("relu", widths=[5, 5, 5], draws=500)
    for function in (torch.nn.ReLU(inplace=True), lambda z: z.double().clamp(min=0)):
        assert signal.propagate(function, widths=[5, 5, 5], draws=500).layers == plain.layers


# ---- linear networks in closed form ----


def test_variance_of_linear_networks() -> None:
    """It is sigma_w^2 times the one before, plus sigma_b^2; within 4 standard errors.

    `E z^4 = 3 E (|z'|^2 / n)^2` of the layer before gives the standard error: without biases the kurtosis of
    layer l is `3 ((n + 2) / n)^(l - 1)`, which that of smaller biases does not pass.
    """
    n, draws, sigma_w, sigma_b = 20, 20_000, 1.2, 0.2
    found = signal.propagate("linear", widths=[n] * 5, draws=draws, sigma_w=sigma_w, sigma_b=sigma_b, x=2.0)
    variance = 4.0
    for layer, law in enumerate(found):
        variance = sigma_w**2 * variance + sigma_b**2
        kurtosis = 3 * ((n + 2) / n) ** layer
        assert law.sd**2 == pytest.approx(variance, rel=4 * math.sqrt((kurtosis - 1) / draws))


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_kurtosis_of_products_of_normals(layer: int) -> None:
    """Of width 1 it is that of a product of l normals, `3^l - 3`, within 4 standard errors.

    The influence of a value on the kurtosis k is `z^4 - k - 2 k (z^2 - 1)`; moments of a product are powers
    of 1, 3, 15 and 105.
    """
    draws, k = 200_000, 3.0**layer
    found = signal.propagate("linear", widths=[1] * layer, draws=draws, seed=2)
    variance = 105.0**layer - k**2 - 4 * k * (15.0**layer - k) + 4 * k**2 * (k - 1)
    assert found.excess_kurtosis[-1] == pytest.approx(k - 3, abs=4 * math.sqrt(variance / draws))


def test_kurtosis_of_wider_linear_networks() -> None:
    """At width n it is `3 ((n + 2) / n)^(l - 1) - 3`, within 4 standard errors.

    Given the layer before, z is normal with a variance whose k-th moment is that of a product of l - 1
    chi-squared variables over n; so are the moments 3, 15 and 105 times these.
    """
    n, draws = 10, 50_000
    found = signal.propagate("linear", widths=[n] * 6, draws=draws, seed=3)
    for law in found:
        before = law.layer - 1
        fourth = 3 * ((n + 2) / n) ** before
        sixth = 15 * ((n + 2) * (n + 4) / n**2) ** before
        eighth = 105 * ((n + 2) * (n + 4) * (n + 6) / n**3) ** before
        variance = eighth - fourth**2 - 4 * fourth * (sixth - fourth) + 4 * fourth**2 * (fourth - 1)
        assert law.excess_kurtosis == pytest.approx(fourth - 3, abs=4 * math.sqrt(variance / draws))


# ---- what is measured ----


def test_statistics_are_those_of_the_package() -> None:
    """Every number is what the public function gives of the same pre-activations, or numpy does."""
    found = signal.propagate("relu", widths=[3, 3, 3], draws=700, sigma_b=0.1)
    z = firsts(asked("relu", 700, widths=[3, 3, 3], sigma_b=0.1), 700)
    known = stats.kstest(z, dim=1)
    assert found.ks_distance == pytest.approx(known.statistic.numpy(), rel=1e-12)
    assert found.pvalue == pytest.approx(known.pvalue.numpy(), rel=1e-12)
    assert found.fitted_ks_distance == pytest.approx(stats.lilliefors(z, dim=1).statistic.numpy(), rel=1e-6)
    assert found.fitted_pvalue == pytest.approx(stats.lilliefors(z, dim=1).pvalue.numpy(), rel=1e-3)
    for name in ("skewness", "excess_kurtosis", "delta", "negentropy", "qq_r2", "wasserstein"):
        assert getattr(found, name) == pytest.approx(
            getattr(stats, name)(z, dim=1).numpy(), rel=1e-4, abs=1e-6
        )
    exact = z.double().numpy()
    assert found.mean == pytest.approx(exact.mean(axis=1), abs=1e-6)
    assert found.sd == pytest.approx(exact.std(axis=1, ddof=1), rel=1e-6)
    for law, column, (i, _) in zip(found, exact, enumerate(found), strict=True):
        assert law.quantiles == pytest.approx(np.quantile(column, PROBABILITIES), rel=1e-9, abs=1e-12)
        assert list(law.tests) == list(stats.battery(z[i]))
        for name, result in stats.battery(z[i]).items():
            assert law.tests[name].statistic == pytest.approx(float(result.statistic), rel=1e-4)
            assert law.tests[name].pvalue == pytest.approx(float(result.pvalue), rel=1e-3)
            assert law.tests[name].n_samples == 700


def test_p_values_of_the_first_layer_are_uniform() -> None:
    """Over 300 seeds those of both nulls are uniform: D of the p-values is below what .001 of D pass."""
    p = np.array(
        [
            (one[0].pvalue, one[0].fitted_pvalue, one[0].tests["anderson_darling"].pvalue)
            for one in (signal.propagate("tanh", widths=[2], draws=200, seed=seed) for seed in range(300))
        ]
    )
    for column in p.T:
        assert stats.kstest(torch.special.ndtri(torch.tensor(column).clamp(1e-12, 1 - 1e-12))).pvalue > 1e-3


def test_wide_layers_are_nearly_normal() -> None:
    """At width 200 the second layer of tanh passes the tests that width 1 fails; only the variance is off."""
    wide = signal.propagate("tanh", widths=[200, 1], draws=2_000)
    narrow = signal.propagate("tanh", widths=[1, 1], draws=2_000)
    assert wide[1].fitted_pvalue > 1e-3 > narrow[1].fitted_pvalue
    assert wide[1].pvalue < 1e-3


def test_more_draws_than_are_tabulated_in_float32() -> None:
    """20,000 draws are computed in float64: p-values of the first layer are none of rounding."""
    found = signal.propagate("relu", widths=[1], draws=20_000, seed=4)
    assert min(result.pvalue for result in found[0].tests.values()) > 1e-3


@given(
    st.sampled_from(["relu", "tanh", "gelu", "hardtanh"]),
    st.lists(st.integers(1, 6), min_size=1, max_size=4),
    st.integers(8, 60),
    st.floats(0.1, 3),
    st.floats(0.1, 2),
    st.sampled_from(["normal", "uniform", ("weibull", 3.0)]),
    st.integers(0, 2**63 - 1),
)
@settings(max_examples=60, deadline=None)
def test_what_always_holds(
    name: str, widths: list[int], draws: int, sigma_w: float, sigma_b: float, weight: Any, seed: int
) -> None:
    """With biases every layer has a law, its p-values in 0 .. 1, D in its interval, quantiles in order."""
    found = signal.propagate(
        name, widths=widths, draws=draws, sigma_w=sigma_w, sigma_b=sigma_b, weight=weight, seed=seed
    )
    assert len(found) == len(widths)
    for law in found:
        assert law.reason == ""
        assert 0 <= law.ks_low <= law.ks_distance <= law.ks_high <= 1
        assert 0 < law.fitted_ks_distance < 1
        assert all(0 <= p <= 1 for p in (law.pvalue, law.fitted_pvalue))
        assert all(0 <= result.pvalue <= 1 for result in law.tests.values())
        assert law.sd > 0
        assert list(law.quantiles) == sorted(law.quantiles)
        # p below the level is D beyond its critical value.
        assert (law.pvalue < found.level) == (law.ks_distance > found.critical_distance)
        assert (law.fitted_pvalue < found.level) == (law.fitted_ks_distance > found.fitted_critical_distance)


@given(st.floats(0, 1), st.integers(8, 10**9), st.floats(0.5, 0.999))
def test_massart_interval(distance: float, n: int, confidence: float) -> None:
    """It holds D, stays within 0 .. 1, and is as wide as its formula says where it is not cut."""
    low, high = laws.massart(distance, n, confidence=confidence)
    assert 0 <= low <= distance <= high <= 1
    reach = math.sqrt(math.log(2 / (1 - confidence)) / (2 * n))
    assert low == 0 or distance - low == pytest.approx(reach)
    assert high == 1 or high - distance == pytest.approx(reach)


def test_massart_interval_covers() -> None:
    """Of 300 runs at most 5 % + 4 standard errors miss the distance of the law, here that of N(0, 4).

    In closed form: Phi(x) - Phi(x / 2) is largest where the densities cross, at `x^2 = (8 / 3) ln 2`.
    """
    at = math.sqrt(8 / 3 * math.log(2))
    distance = float(torch.special.ndtr(torch.tensor(at)) - torch.special.ndtr(torch.tensor(at / 2)))
    runs = (signal.propagate("relu", widths=[1], draws=100, sigma_w=2.0, seed=seed)[0] for seed in range(300))
    missed = sum(not law.ks_low <= distance <= law.ks_high for law in runs)
    assert missed / 300 <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / 300)


@pytest.mark.parametrize("n", [8, 50, 3_000, 10_000, 1_000_000])
@pytest.mark.parametrize("level", [0.5, 0.05, 1e-4])
def test_critical_distances(n: int, level: float) -> None:
    """They are exceeded with that probability: by scipy's exact law, and by Lilliefors' p-value."""
    assert critical.ks_distance(level, n) == pytest.approx(kstwo.isf(level, n), rel=1e-5)
    fitted = torch.tensor([critical.fitted_ks_distance(level, n)], dtype=torch.float64)
    assert float(stats.kolmogorov.pvalue(fitted, n)) == pytest.approx(level, rel=1e-6)


def test_critical_distances_of_a_result() -> None:
    """Are those of its level and draws."""
    found = signal.propagate("relu", widths=[2], draws=5_000)
    assert found.critical_distance == pytest.approx(kstwo.isf(0.05, 5_000), rel=1e-6)
    assert found.fitted_critical_distance == critical.fitted_ks_distance(0.05, 5_000)
    stricter = signal.propagate("relu", widths=[2], draws=5_000, level=0.01)
    assert stricter.critical_distance == pytest.approx(kstwo.isf(0.01, 5_000), rel=1e-6)


# ---- what cannot be measured ----


def test_constant_layers() -> None:
    """Without weights and biases every pre-activation is 0: D from N(0, 1) is 1/2, the rest NaN."""
    with pytest.warns(ConstantSampleWarning, match=r"layer 1 is 0 in every network.* 3 of 3 layers"):
        found = signal.propagate("relu", widths=[2, 2, 2], draws=100, sigma_w=0.0)
    for law in found:
        assert law.ks_distance == pytest.approx(0.5)
        assert law.pvalue < 1e-20
        assert (law.mean, law.sd) == (0, 0)
        assert law.reason.startswith("0 in every network")
        assert all(math.isnan(getattr(law, name)) for name in ("delta", "skewness", "fitted_pvalue", "qq_r2"))
        assert all(math.isnan(result.pvalue) for result in law.tests.values())
    assert len(found.warnings) == 1
    assert "layer 1 is 0 in every network" in found.warnings[0]
    assert found.first_nonfinite is None


def test_networks_that_die() -> None:
    """Narrow deep ReLU networks are 0 from some layer on, and measured before it."""
    with pytest.warns(ConstantSampleWarning) as warned:
        found = signal.propagate("relu", widths=[1] * 40, draws=1_000, sigma_w=ROOT_2)
    first = next(law.layer for law in found if law.reason)
    assert 5 < first < 40
    assert f"layer {first} is 0 in every network" in str(warned[0].message)
    assert len(warned) == 1
    assert not np.isnan(found.skewness[: first - 1]).any()
    assert np.isnan(found.skewness[first - 1 :]).all()


def test_networks_that_overflow() -> None:
    """Non-finite networks are counted from the first layer that has one; layers before it are measured."""
    with pytest.warns(NonFiniteSampleWarning) as warned:
        found = signal.propagate("relu", widths=[5] * 30, draws=200, sigma_w=100.0, x=1e20)
    first = found.first_nonfinite
    assert first is not None
    assert 5 < first < 20
    assert len(warned) == 1
    assert f"layer {first} is NaN or infinite in {found[first - 1].n_nonfinite} of 200" in str(
        warned[0].message
    )
    before, after = found[: first - 1], found[first - 1 :]
    assert all(law.n_nonfinite == 0 and law.sd > 0 and not math.isnan(law.delta) for law in before)
    assert all(math.isnan(law.ks_distance) and math.isnan(law.ks_low) and law.reason for law in after)
    assert after[0].n_nonfinite == int(
        (
            ~torch.isfinite(
                firsts(asked("relu", 200, widths=[5] * 30, sigma_w=100.0, x=1e20), 200)[first - 1]
            )
        ).sum()
    )


def test_activations_without_a_value() -> None:
    """An activation that is NaN for half of its input spoils the layer after, and is told of."""
    with pytest.warns(NonFiniteSampleWarning, match="layer 2 is NaN or infinite"):
        found = signal.propagate(torch.sqrt, widths=[1, 1], draws=1_000)
    assert found[0].reason == ""
    assert abs(found[1].n_nonfinite - 500) < 4 * math.sqrt(250)


# ---- arguments ----


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"widths": []}, "widths must be a sequence of positive integers"),
        ({"widths": 10}, "widths must be a sequence"),
        ({"widths": "10"}, "widths must be a sequence"),
        ({"widths": [3, 0]}, "each of widths must be an integer of at least 1; got 0"),
        ({"widths": [-3]}, "each of widths must"),
        ({"widths": [True]}, "each of widths must"),
        ({"widths": [2.0]}, "each of widths must"),
        ({"widths": [100_000, 100_000]}, "widths must let one layer of one network fit 1 GiB; .* 37.3 GiB"),
        ({"draws": 7}, "draws must be an integer of at least 8; got 7"),
        ({"draws": 1e4}, "draws must be an integer"),
        ({"draws": True}, "draws must be an integer"),
        ({"draws": 2**32}, "draws must be at most"),
        ({"sigma_w": -1.0}, "sigma_w must be a finite number of at least 0"),
        ({"sigma_w": math.nan}, "sigma_w must"),
        ({"sigma_w": math.inf}, "sigma_w must"),
        ({"sigma_w": 1e39}, "sigma_w must"),
        ({"sigma_w": "1"}, "sigma_w must"),
        ({"sigma_b": -0.1}, "sigma_b must be a finite number of at least 0"),
        ({"sigma_b": math.nan}, "sigma_b must"),
        ({"sigma_b": True}, "sigma_b must"),
        ({"weight": "unifrom"}, "weight must be among .* did you mean 'uniform'"),
        ({"weight": ("weibull", 0)}, "weight must"),
        ({"seed": -1}, "seed must be an integer of at least 0"),
        ({"seed": 2**63}, "seed must be below"),
        ({"seed": 1.0}, "seed must be an integer"),
        ({"x": math.nan}, "x must be finite"),
        ({"x": [1.0, math.inf]}, "x must be finite"),
        ({"x": 1e300}, "x must be finite in float32"),
        ({"x": []}, "x must not be empty"),
        ({"x": np.zeros((2, 0))}, "x must not be empty"),
        ({"x": np.zeros((1, 3))}, "x must be a number, .*two inputs, without a kernel_size; got shape"),
        ({"x": np.zeros((3, 8, 8))}, "x must be a number"),
        ({"x": [[1.0], [2.0, 3.0]]}, "x must hold real numbers"),
        ({"x": "one"}, "x must hold real numbers"),
        ({"x": [True]}, "x must hold real numbers"),
        ({"x": [1j]}, "x must hold real numbers"),
        ({"x": object()}, "x must hold real numbers"),
        ({"x": torch.zeros(3, device="meta")}, "x must hold real numbers"),
        ({"kernel_size": 3}, "x must be given for convolutions"),
        ({"kernel_size": 2, "x": np.zeros((1, 3, 3))}, "kernel_size must be odd"),
        ({"kernel_size": 0, "x": np.zeros((1, 3, 3))}, "kernel_size must be an integer of at least 1"),
        ({"kernel_size": True, "x": np.zeros((1, 3, 3))}, "kernel_size must be an integer"),
        ({"kernel_size": 3, "x": [1.0, 2.0]}, r"x must be \(C, H, W\), or \(2, C, H, W\)"),
        ({"kernel_size": 3, "x": np.zeros((3, 1, 4, 4))}, r"x must be \(C, H, W\)"),
        ({"kernel_size": 3, "x": np.zeros((1, 4, 0))}, "x must not be empty"),
        ({"device": "nowhere"}, "device must be"),
        ({"device": "meta"}, "device must be"),
        ({"device": 1.5}, "device must be"),
        ({"level": 0.0}, "level must be a number between 0 and 1"),
        ({"level": 1}, "level must be"),
        ({"level": math.nan}, "level must be"),
        ({"activation": torch.nn.Softmax(dim=0)}, "activation must act on each element"),
        ({"activation": "rleu"}, "activation must be among .* did you mean 'relu'"),
    ],
)
def test_what_is_refused(change: dict[str, Any], message: str) -> None:
    """By the name of the argument, before anything is drawn."""
    plain: dict[str, Any] = {"activation": "relu", "widths": [2], "draws": 10}
    arguments = {**plain, **change}
    with pytest.raises(ValueError, match=message):
        signal.propagate(arguments.pop("activation"), **arguments)


@pytest.mark.parametrize(
    "x", [3, 3.0, np.float32(3), [3], np.array([3]), torch.tensor(3.0), torch.tensor([3])]
)
def test_what_an_input_may_be(x: Any) -> None:
    """One number in any form is one number; so are widths and draws."""
    numpys: dict[str, Any] = {"widths": np.array([2]), "draws": np.int64(10)}
    plain = signal.propagate("relu", widths=[2], draws=10, x=x)
    assert plain == signal.propagate("relu", x=3.0, **numpys)


def test_what_a_result_says_of_itself() -> None:
    """The record holds what was asked for."""
    found = signal.propagate(
        torch.nn.Tanh(),
        widths=(4, 3),
        draws=20,
        sigma_w=2,
        sigma_b=1,
        weight=("weibull", 3),
        seed=9,
        x=[1, 2, 3],
    )
    assert (found.activation, found.weight, found.widths, found.kernel_size) == (
        "Tanh",
        "weibull(3)",
        (4, 3),
        None,
    )
    assert (found.draws, found.sigma_w, found.sigma_b, found.seed) == (20, 2.0, 1.0, 9)
    assert (found.input_shape, found.device, found.level, found.correlations) == ((3,), "cpu", 0.05, ())
    assert [(law.layer, law.width, law.n_draws) for law in found] == [(1, 4, 20), (2, 3, 20)]


@pytest.mark.usefixtures("small_chunks")
def test_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told from none to all of the draws, never backwards; and can stop the work."""
    monkeypatch.setattr(walk, "_ROUND", 2**12)
    told: list[tuple[str, int, int | None]] = []
    signal.propagate("relu", widths=[8, 8], draws=300, progress=lambda *what: told.append(what))
    done = [one[1] for one in told]
    assert done[0] == 0
    assert done[-1] == 300
    assert done == sorted(done)
    assert len(done) > 5
    assert {(one[0], one[2]) for one in told} == {("propagating", 300)}

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        signal.propagate("relu", widths=[8, 8], draws=300, progress=stop)


# ---- cost ----


def test_memory_of_a_hundred_layers() -> None:
    """Width 10, 100 layers, 10,000 draws, twice: less than 1 GB from the start of the process.

    Predicted: 8 MB of results beside some 400 MB of torch. The high-water mark of the process itself: that of
    getrusage begins with what its parent had.
    """
    program = (
        "import gaussprobe as gp\n"
        "for name, w, b in (('relu', 2, 0), ('tanh', 1.46, .013)):\n"
        "    gp.signal.propagate(name, widths=[10] * 100, sigma_w=w ** .5, sigma_b=b ** .5)\n"
        "print(*[line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 50_000 < int(done.stdout) < 1_000_000


@pytest.mark.gpu
@CUDA
def test_a_gpu_draws_the_same_laws() -> None:
    """Its networks are others, of the same law: D of the two samples is below what .001 of D pass."""
    kwargs: dict[str, Any] = {"widths": [10] * 5, "sigma_w": ROOT_2}
    draws = 20_000
    one = signal.propagate("relu", draws=draws, **kwargs)
    other = signal.propagate("relu", draws=draws, device="cuda", **kwargs)
    assert other.device.startswith("cuda")
    reach = 2 * critical.ks_distance(1e-3, draws)
    assert np.abs(one.ks_distance - other.ks_distance).max() < reach
    assert other[0].fitted_pvalue > 1e-3
