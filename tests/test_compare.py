"""Settings trained side by side."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import gaussprobe as gp
from gaussprobe import compare as compare_function
from gaussprobe.comparison import MEASURES, Comparison, SiteNumbers, Trial
from gaussprobe.errors import StoreError
from gaussprobe.machine import machine
from gaussprobe.trials.analysis import compared
from gaussprobe.trials.kept import read
from gaussprobe.trials.probe import Probe, noise_apart
from gaussprobe.trials.trial import trained_on
from tests import needs
from tests.settings import SETTINGS, build, train


def numbers(found: Comparison) -> list[object]:
    """Everything that should not depend on when and how a comparison was run."""
    return [
        found.settings,
        found.metrics,
        repr([replace(pair, cost=()) for pair in found.pairs]),
        repr(found.courses),
        [(t.setting, t.seed, t.metrics, repr(t.sites), t.measured, t.steps) for t in found.trials],
    ]


def stub(model: nn.Module, probe: Probe, seed: int) -> dict[str, float]:
    """No training: two steps, a number of the seed."""
    for _ in range(2):
        model(torch.randn(16, 64))
        probe.step()
    return {"score": float(seed)}


@pytest.mark.usefixtures("one_thread")
def test_the_same_twice_broken_off_and_in_two_processes(tmp_path: Path) -> None:
    """Identical to the last digit: run again, broken off and gone on with, with jobs=2, and as read back."""
    whole = gp.compare(build, train, settings=SETTINGS, seeds=range(3), store=tmp_path / "whole", every=20)
    assert numbers(gp.compare(build, train, settings=SETTINGS, seeds=range(3), every=20)) == numbers(whole)
    calls = itertools.count()

    def broken_off(model: nn.Module, probe: Probe, seed: int) -> dict[str, float | torch.Tensor]:
        if next(calls) == 3:
            raise KeyboardInterrupt
        return train(model, probe, seed)

    broken_off.__module__, broken_off.__qualname__ = train.__module__, train.__qualname__
    with pytest.raises(KeyboardInterrupt):
        gp.compare(build, broken_off, settings=SETTINGS, seeds=range(3), store=tmp_path / "part", every=20)
    assert len(read(tmp_path / "part").trials) == 3
    again = gp.compare(
        build, broken_off, settings=SETTINGS, seeds=range(3), store=tmp_path / "part", every=20
    )
    assert next(calls) == 3 + 1 + 3  # three trials are left, none of those that ended
    assert numbers(again) == numbers(whole) == numbers(read(tmp_path / "part"))
    two = gp.compare(
        build, train, settings=SETTINGS, seeds=range(3), store=tmp_path / "two", every=20, jobs=2
    )
    assert numbers(two) == numbers(whole)


def test_what_is_found() -> None:
    """Metrics and sites of both settings, by seed; the layer is more normal after the transform."""
    found = compare_function(build, train, settings=SETTINGS, seeds=range(3))
    assert found.settings == ("BatchNorm", "BatchNormalNorm")
    assert not found.failed
    assert not found.warnings
    for setting in found.settings:
        summary = found.metrics[setting]["accuracy"]
        assert summary.seeds == (0, 1, 2)
        assert min(summary.values) > 0.7
        assert summary.mean == pytest.approx(np.mean(summary.values))
        assert summary.se == pytest.approx(np.std(summary.values, ddof=1) / math.sqrt(3))
    (pair,) = found.pairs
    expected = np.subtract(*(found.metrics[s]["accuracy"].values for s in reversed(found.settings)))
    assert pair.metrics["accuracy"].mean == pytest.approx(expected.mean())
    assert [site.site for site in pair.sites] == ["0", "1", "2", "4"]
    norm = pair.sites[1]
    assert norm.kind == ("preactivation", "norm")
    assert set(norm.means) == set(norm.differences) == set(MEASURES)
    assert norm.means["qq_r2"]["BatchNormalNorm"] > norm.means["qq_r2"]["BatchNorm"]
    assert norm.differences["qq_r2"].adjusted_pvalue is not None
    assert found.trials[0].measured == "500 examples in evaluation mode, after training"


def test_what_the_paper_measures() -> None:
    """Noise, pairs, minibatches, cost and courses of both settings; what was not asked for is not there."""
    found = gp.compare(build, train, settings=SETTINGS, seeds=range(2), every=20)
    (pair,) = found.pairs
    assert [(one.at, one.site) for one in pair.robustness] == [("1", "4"), ("1", "output")]
    for one in pair.robustness:
        ratios = [
            next(c.change for c in t.robustness if (c.at, c.site) == (one.at, one.site)) for t in found.trials
        ]
        assert one.ratio.ratio == pytest.approx(math.sqrt(ratios[2] * ratios[3] / ratios[0] / ratios[1]))
        assert one.ratio.adjusted_pvalue is not None
    costs = {one.name: one for one in pair.cost}
    assert list(costs) == ["forward", "backward", "step", "saved_bytes"]
    assert costs["saved_bytes"].ratio.reason == "the ratio is the same on every seed"
    assert costs["step"].means["BatchNorm"] == pytest.approx(
        costs["forward"].means["BatchNorm"] + costs["backward"].means["BatchNorm"]
    )
    course = found.courses["BatchNormalNorm"][1]
    assert (course.site, course.steps) == ("1", (0, 20))
    drawn = [{(q.site, q.unit) for q in t.quantiles} for t in found.trials]
    assert drawn[0] == drawn[2]
    assert len(drawn[0]) == 4 * 4
    bare = gp.compare(build, train, settings=SETTINGS, seeds=[0], measures=["cost"])
    assert bare.pairs[0].robustness == ()
    assert set(bare.pairs[0].sites[0].means) == set(MEASURES[:7])
    assert not bare.trials[0].quantiles


def test_long_courses_end_with_the_last_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of six records every third is kept, and the last one, which pages read as the end of training."""
    monkeypatch.setattr("gaussprobe.trials.trial._MOST_POINTS", 2)

    def six(model: nn.Module, probe: Probe, seed: int) -> None:
        """Steps without training."""
        for _ in range(6):
            model(torch.randn(16, 64))
            probe.step()

    found = gp.compare(build, six, settings=SETTINGS, seeds=[0], every=1, measures=[])  # type: ignore[arg-type]
    assert {course.steps for each in found.courses.values() for course in each} == {(0, 3, 5)}


def test_a_measure_that_fails_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial stands, with a note that has the exception's name."""

    def fail(*_given: object, **_options: object) -> None:
        raise ValueError

    monkeypatch.setattr("gaussprobe.measures.channel_pairs", fail)
    found = gp.compare(build, train, settings=SETTINGS, seeds=[0], measures=["pairs"])
    assert not found.failed
    assert all(trial.notes == ("pairs: ValueError",) for trial in found.trials)


def test_the_device_is_recorded() -> None:
    """Beside the CPU, where training ran on another."""
    assert trained_on(torch.device("cpu")) == machine()
    assert trained_on(torch.device("mps")) == f"{machine()}; mps"


def test_what_cannot_be_measured_is_noted() -> None:
    """A model that only parts of are called has no step to time; the rest is there."""

    def parts(model: nn.Module, probe: Probe, seed: int) -> dict[str, float]:
        for _ in range(2):
            x = torch.randn(16, 64)
            for part in model:
                x = part(x)
            probe.step()
        nn.init.constant_(model[1].bias, -100.0)  # all units of the ReLU are dead
        probe.measure(iter([torch.randn(40, 64), torch.randn(40, 64)]))
        return {"score": float(seed)}

    found = gp.compare(build, parts, settings=SETTINGS, seeds=[0])
    assert not found.failed
    assert found.pairs[0].cost == ()
    said = "cost: the model as a whole was never called in training mode (in BatchNormalNorm 0)"
    assert said in found.warnings
    assert found.pairs[0].robustness
    assert any(warning.startswith(("minibatches: 4: ", "pairs: 4: ")) for warning in found.warnings)
    assert not any(warning.startswith(("minibatches: 2: ", "pairs: 2: ")) for warning in found.warnings)


def test_settings_see_the_same() -> None:
    """Initial weights, batches and dropout are the same, whatever noise the layers draw; nothing leaks."""
    seen: dict[int, list[torch.Tensor]] = {}

    def watching(model: nn.Module, probe: Probe, seed: int) -> dict[str, float | torch.Tensor]:
        seen.setdefault(seed, []).append(torch.cat([p.detach().flatten() for p in model.parameters()]))
        masks = []
        handle = model[3].register_forward_hook(lambda _m, _x, y: masks.append((y == 0).float().mean()))
        metrics = train(model, probe, seed)
        handle.remove()
        seen[seed].append(torch.rand(5))  # the generator's state after all
        return metrics

    state = torch.get_rng_state()
    gp.compare(build, watching, settings=SETTINGS, seeds=[3, 4])
    assert torch.equal(state, torch.get_rng_state())
    for weights, after, other_weights, other_after in seen.values():
        assert torch.equal(weights, other_weights)
        assert torch.equal(after, other_after)
    assert not torch.equal(seen[3][0], seen[4][0])


@pytest.mark.gpu
@needs.CUDA
def test_noise_is_apart_on_a_device() -> None:
    """What is drawn on a device after a layer with noise is what is drawn after one without."""
    drawn = []
    for setting in SETTINGS.values():
        model = build()
        model = (model if setting is None else setting(model)).cuda().train()
        torch.manual_seed(7)
        x = torch.randn(16, 64).cuda()
        with noise_apart(model, 3):
            model(x)
            drawn.append(torch.rand(5, device="cuda"))
    assert torch.equal(*drawn)


def test_a_setting_may_be_another_model() -> None:
    """What fits in name and shape has the first's weights."""
    seen = []

    def other(_: nn.Module) -> nn.Module:
        torch.rand(7)
        return nn.Sequential(nn.Linear(64, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, 12))

    def looking(model: nn.Module, probe: Probe, seed: int) -> dict[str, float]:
        seen.append(model[0].weight.detach().clone())
        return stub(model, probe, seed)

    found = gp.compare(build, looking, settings={"batch": None, "layer": other}, seeds=[0])
    assert torch.equal(*seen)
    assert [site.site for site in found.pairs[0].sites] == ["0", "1", "2"]


def test_a_failure_is_kept_and_the_rest_goes_on(tmp_path: Path) -> None:
    """With its traceback; the next call runs that trial again, and it alone."""
    broken, calls = True, []

    def failing(model: nn.Module, probe: Probe, seed: int) -> dict[str, float]:
        calls.append(seed)
        if broken and seed == 1 and isinstance(model[1], gp.nn.BatchNormalNorm1d):
            raise RuntimeError("loss is NaN")
        return stub(model, probe, seed)

    def run() -> Comparison:
        return gp.compare(build, failing, settings=SETTINGS, seeds=range(3), store=tmp_path / "kept")

    found = run()
    (failed,) = found.failed
    assert (failed.setting, failed.seed) == ("BatchNormalNorm", 1)
    assert "Traceback" in failed.failure
    assert 'raise RuntimeError("loss is NaN")' in failed.failure
    assert found.warnings[0].startswith(
        "BatchNormalNorm, seed 1: RuntimeError: loss is NaN (test_compare.py, line "
    )
    assert found.metrics["BatchNormalNorm"]["score"].seeds == (0, 2)
    assert found.pairs[0].metrics["score"].n_seeds == 2
    broken = False
    calls.clear()
    assert not run().failed
    assert calls == [1]


def made(setting: str, seed: int, metric: float, sites: dict[str, float]) -> Trial:
    """A trial with given numbers."""
    return Trial(
        setting=setting,
        seed=seed,
        metrics={"accuracy": metric},
        sites=tuple(
            SiteNumbers(site=name, kind=("norm",), **dict.fromkeys(MEASURES, value))
            for name, value in sites.items()
        ),
    )


def test_two_names_for_one_law() -> None:
    """1,000 comparisons of settings that do not differ: any site below .05 in at most 5 %; intervals of a
    metric cover in 95 +- 2 %. Sites of a seed go up and down together."""
    rng = np.random.default_rng(0)
    claims = covered = 0
    for _ in range(1000):
        trials = []
        for seed, setting in itertools.product(range(6), "ab"):
            values = rng.normal() + rng.normal(size=8)
            trials.append(
                made(setting, seed, rng.normal(), {f"layer{k}": float(v) for k, v in enumerate(values)})
            )
        (pair,) = compared("ab", range(6), trials, {}).pairs
        adjusted = [site.differences["qq_r2"].adjusted_pvalue for site in pair.sites]
        claims += any(p is not None and p < 0.05 for p in adjusted)
        covered += pair.metrics["accuracy"].low <= 0 <= pair.metrics["accuracy"].high
    assert claims / 1000 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1000)
    assert abs(covered / 1000 - 0.95) <= 0.02


def test_outputs_of_nonlinearities_cost_the_layers_nothing() -> None:
    """p-values are adjusted over the two layers that count, and over the nine outputs, apart."""
    rng = np.random.default_rng(5)
    trials = []
    for seed, setting in itertools.product(range(6), "ab"):
        one = made(setting, seed, 0.0, {f"s{k}": float(rng.normal()) for k in range(11)})
        kinds = [("norm",) if k < 2 else ("activation",) for k in range(11)]
        sites = tuple(replace(site, kind=kind) for site, kind in zip(one.sites, kinds, strict=True))
        trials.append(replace(one, sites=sites))
    found = compared("ab", range(6), trials, {}).pairs[0].sites
    for group, m in ((found[:2], 2), (found[2:], 9)):
        smallest = min((site.differences["qq_r2"] for site in group), key=lambda one: one.pvalue)
        assert smallest.adjusted_pvalue == pytest.approx(min(1, m * smallest.pvalue))


def test_what_cannot_be_compared_is_named() -> None:
    """Sites, metrics and numbers that are not on both sides."""
    a = [made("a", s, 0.5 + s, {"left": 1.0}) for s in range(3)]
    b = [made("b", s, 0.6 + s**2, {"right": 1.0}) for s in range(3)]
    assert compared("ab", range(3), a + b, {}).warnings == (
        "a and b share no site (no name is the same): layers are not compared",
    )
    without = [Trial(setting="b", seed=s, metrics={"loss": math.nan if s else 1.0}) for s in range(3)]
    found = compared("ab", range(3), a + without, {})
    assert found.warnings == (
        "metric 'accuracy' is missing from b 0, b 1, b 2",
        "metric 'loss' is missing from a 0, a 1, a 2",
        "metric 'loss' is not finite in b 1, b 2: left out there",
        "a and b share no site (b measured none): layers are not compared",
    )
    assert found.metrics["b"]["loss"].values == (1.0,)
    assert found.pairs[0].metrics == {}
    alone = compared("ab", range(3), [a[0], *b[1:]], {})
    assert alone.warnings == ("a and b have no seed in common that ended: nothing is compared",)


def test_layers_left_out_are_named() -> None:
    """A layer that one trial lacks, and one not finite on a seed; means are over the seeds left."""
    trials = [
        made(setting, s, 0.0, {"1": s + gain, "4": math.nan if (setting, s) == ("b", 2) else s + gain})
        for setting, gain in (("a", 0.0), ("b", 0.5))
        for s in range(3)
    ]
    trials[0] = made("a", 0, 0.0, {"1": 0.0, "4": 0.1, "7": 0.0})
    found = compared("ab", range(3), trials, {})
    assert "b against a: not in every trial, and not compared: 7" in found.warnings
    assert found.warnings[-1] == (
        "b against a: not finite on some seeds, left out there: qq_r2, negentropy, delta and 9 more of 4"
    )
    site = found.pairs[0].sites[1]
    one = site.differences["qq_r2"]
    assert one.n_seeds == 2
    assert site.means["qq_r2"]["b"] - site.means["qq_r2"]["a"] == pytest.approx(one.mean)


def test_a_folder_goes_with_one_comparison(tmp_path: Path) -> None:
    """Other settings or options are refused; more seeds are not; a folder of anything else is left alone."""
    place = tmp_path / "kept"
    gp.compare(build, stub, settings=SETTINGS, seeds=[0], store=place)
    assert len(gp.compare(build, stub, settings=SETTINGS, seeds=[0, 1], store=place).trials) == 4
    with pytest.raises(StoreError, match="holds another comparison: every 50, not 10"):
        gp.compare(build, stub, settings=SETTINGS, seeds=[0], store=place, every=10)
    with pytest.raises(StoreError, match="settings BatchNorm, BatchNormalNorm, not a, b"):
        gp.compare(build, stub, settings={"a": None, "b": None}, seeds=[0], store=place)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("mine")
    with pytest.raises(StoreError, match="holds no comparison"):
        gp.compare(build, stub, settings=SETTINGS, seeds=[0], store=tmp_path / "other")
    result = next(place.glob("0-*/seed-0.json"))
    result.write_text("{")
    with pytest.raises(StoreError, match=r"cannot be read: seed-0\.json is damaged"):
        read(place)


def test_odd_trainings() -> None:
    """What `train` returns and does not do is said."""

    def nothing(model: nn.Module, probe: Probe, seed: int) -> None:
        """Never looks."""

    found = gp.compare(build, nothing, settings=SETTINGS, seeds=[0])  # type: ignore[arg-type]
    assert found.trials[0].measured.startswith("nothing: train neither called probe.step()")
    for wrong, said in (
        (3, "train must return its metrics by name, or None; got int"),
        ({"a": "x"}, "metric 'a'"),
    ):
        function: Callable[..., Any] = lambda *_, w=wrong: w  # noqa: E731
        found = gp.compare(build, function, settings=SETTINGS, seeds=[0])
        assert said in found.failed[0].failure
    found = gp.compare(lambda: 3, stub, settings=SETTINGS, seeds=[0])  # type: ignore[arg-type, return-value]
    assert "build must return a torch.nn.Module; got int" in found.failed[0].failure


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"settings": {"a": None}}, r"at least two, by name; got \['a'\]"),
        ({"settings": {"a": None, "b": 3}}, "setting 'b' must be a function or None; got int"),
        ({"settings": {"a": None, "": None}}, "settings must have names"),
        ({"seeds": [1, 1]}, r"distinct integers, not negative, one at least; got \[1, 1\]"),
        ({"seeds": []}, r"one at least; got \[\]"),
        ({"seeds": 3}, r"seeds must be integers in a row, such as range\(6\); got 3"),
        ({"settings": [None, build]}, "settings must be functions by name; got list"),
        ({"seeds": [-1]}, r"got \[-1\]"),
        ({"measures": ["speed"]}, "among minibatches, pairs, robustness, cost, in a list; got 'speed'"),
        ({"measures": "cost"}, "in a list; got 'cost'"),
        ({"jobs": 0}, "jobs must be an integer of at least 1; got 0"),
        ({"jobs": 2, "settings": {"a": None, "b": lambda m: m}}, "other processes can import"),
        ({"build": None}, "build must be a function; got NoneType"),
    ],
)
def test_bad_arguments(given: dict[str, Any], message: str) -> None:
    """Named, with what came."""
    arguments: dict[str, Any] = {"build": build, "train": stub, "settings": SETTINGS, "seeds": [0]} | given
    with pytest.raises(ValueError, match=message):
        gp.compare(arguments.pop("build"), arguments.pop("train"), **arguments)
