"""A training loop that is followed."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gaussprobe as gp
from gaussprobe.errors import StoreError, WatchError
from gaussprobe.records import CHARTED
from gaussprobe.watch import Recorded
from tests.networks import Residual, stock_mlp


def steps(probe: Any, model: nn.Module, count: int, n: int = 64) -> None:
    """So many training steps on fresh batches."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(count):
        loss = model(torch.randn(n, 32)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        probe.step(loss=loss)


def hooks(model: nn.Module) -> int:
    """How many hooks are on a model."""
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize("stored", [False, True])
def test_every_so_many_steps_are_recorded(stored: bool, tmp_path: Path) -> None:
    """Steps 0, 4 and 8 of ten: scores, moments and metrics of each, in step, then execution order."""
    model = stock_mlp()
    with gp.watch(model, every=4, store=tmp_path / "run.sqlite" if stored else None) as probe:
        steps(probe, model, 10)
    run = probe.run
    assert [(s.step, s.site) for s in run.scores] == [
        (step, site) for step in (0, 4, 8) for site in ("0", "1", "2", "3", "4")
    ]
    assert [(r.step, r.site) for r in run.series] == [(s.step, s.site) for s in run.scores]
    assert [(m.step, m.name) for m in run.metrics] == [(0, "loss"), (4, "loss"), (8, "loss")]
    assert all(math.isfinite(m.value) for m in run.metrics)
    assert run.metadata.mode == "train"
    assert {r.site for r in run.capture} == {"0", "1", "2", "3", "4"}
    frame = run.to_frame()
    assert list(frame.columns[:2]) == ["step", "site"]
    assert len(frame) == 15


def test_training_is_what_it_is_without() -> None:
    """Weights, buffers and the generator after ten steps, bit for bit, with every step recorded."""
    found = []
    for watched in (False, True):
        torch.manual_seed(5)
        model = Residual()
        fixed = torch.randn(16, 3, 8, 8)
        probe = gp.watch(model, every=1, probe_batch=fixed)
        if watched:
            probe.__enter__()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(10):
            loss = model(torch.randn(16, 3, 8, 8)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if watched:
                probe.step(loss=loss)
        probe.close()
        found.append([*model.parameters(), *model.buffers(), torch.rand(5)])
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)


def test_no_hook_is_on_a_model_between_recorded_steps() -> None:
    """Hooks are there in steps 0 and 3 alone, and none after."""
    model = stock_mlp()
    with gp.watch(model, every=3) as probe:
        there = []
        for _ in range(5):
            there.append(hooks(model) > 0)
            steps(probe, model, 1)
    assert there == [True, False, False, True, False]
    assert hooks(model) == 0


def test_metrics_of_other_steps_are_not_looked_at() -> None:
    """No number is fetched from a device in a step that is not recorded."""

    class Costly:
        asked = 0

        def __float__(self) -> float:
            Costly.asked += 1
            return 1.0

    model = stock_mlp()
    with gp.watch(model, every=5) as probe:
        for _ in range(10):
            model(torch.randn(16, 32))
            probe.step(loss=Costly())  # type: ignore[arg-type]
    assert Costly.asked == 2


def test_a_probe_batch_is_a_series_of_its_own() -> None:
    """The fixed batch in evaluation mode: the same numbers while weights rest, beside those of training."""
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 4))
    fixed = torch.randn(200, 8)
    with gp.watch(model, every=1, probe_batch=fixed) as probe:
        for _ in range(3):
            model(torch.randn(64, 8))
            probe.step()
    run = probe.run
    assert [(s.step, s.source) for s in run.scores if s.site == "4"] == [
        (step, source) for step in range(3) for source in ("forward", "probe")
    ]
    resting = {
        r.source: {x.mean for x in run.series if (x.site, x.source) == ("0", r.source)} for r in run.series
    }
    assert (len(resting["forward"]), len(resting["probe"])) == (3, 1)
    assert {s.n_seen for s in run.scores if s.source == "probe"} == {200}
    withheld = {s.source: s.tests["shapiro_wilk"].pvalue is None for s in run.scores if s.site == "1"}
    assert withheld == {"forward": True, "probe": False}
    assert model.training


def test_several_passes_of_one_step_are_one_record() -> None:
    """Gradient accumulation over four passes of 16 examples: 64 samples of each unit."""
    model = stock_mlp()
    with gp.watch(model) as probe:
        for _ in range(4):
            (model(torch.randn(16, 32)).square().mean() / 4).backward()
        probe.step()
    assert {(s.n_seen, s.n_tested) for s in probe.run.scores} == {(64, 64)}


def test_validation_between_steps_is_not_recorded() -> None:
    """Passes in evaluation mode leave no sample."""
    model = stock_mlp()
    with gp.watch(model) as probe:
        model(torch.randn(32, 32))
        model.eval()
        model(torch.randn(500, 32))
        model.train()
        probe.step()
    assert {s.n_seen for s in probe.run.scores} == {32}


@pytest.mark.parametrize("warmed", [False, True])
def test_compiled_training_is_recorded(warmed: bool) -> None:
    """Recorded steps of a compiled model run eagerly, the others compiled; sites have their own names."""
    model = torch.compile(stock_mlp(), backend="eager")
    if warmed:
        model(torch.randn(64, 32)).sum().backward()
    with gp.watch(model, every=2) as probe:
        steps(probe, model, 4)
    run = probe.run
    assert {s.step for s in run.scores} == {0, 2}
    assert [s.site for s in run.scores[:5]] == ["0", "1", "2", "3", "4"]
    assert {s.n_seen for s in run.scores} == {64}


def test_mixed_precision_is_recorded() -> None:
    """A loop under bfloat16 autocast, `step` inside of it."""
    model = stock_mlp()
    with gp.watch(model, every=1) as probe, torch.autocast("cpu", dtype=torch.bfloat16):
        steps(probe, model, 2, n=100)
    assert {s.n_seen for s in probe.run.scores} == {100}
    assert all(math.isfinite(s.delta.median) for s in probe.run.scores if s.site == "0")


def test_effect_sizes_alone() -> None:
    """Without tests and intervals: numbers, and no verdict."""
    model = stock_mlp()
    with gp.watch(model, tests=(), intervals=False) as probe:
        steps(probe, model, 1)
    assert all(not s.tests and s.verdict == "undetermined" for s in probe.run.scores)
    assert all(math.isfinite(s.delta.median) for s in probe.run.scores)


@pytest.mark.parametrize("view", ["layer", "example"])
def test_views(view: Any) -> None:
    """Scores are of the view."""
    model = stock_mlp(width=128)
    with gp.watch(model, view=view, max_units=128) as probe:
        steps(probe, model, 1)
    expected = {"layer": 64 * 128, "example": 128}[view]
    assert probe.run.scores[0].n_tested == expected
    assert probe.run.metadata.view == view


def test_patterns_choose_sites() -> None:
    """`include` and `exclude` as in a scan."""
    model = stock_mlp()
    with gp.watch(model, include="[02]", exclude=["2"]) as probe:
        steps(probe, model, 1)
    assert [s.site for s in probe.run.scores] == ["0"]


def test_wide_layers_are_followed_by_the_same_units() -> None:
    """64 random units of 400, the same at every step, and said."""
    model = nn.Sequential(nn.Linear(32, 400))
    with gp.watch(model, every=1) as probe:
        steps(probe, model, 2)
    assert all("64 of 400 units were drawn" in s.notes[0] for s in probe.run.scores)


def test_listeners_hear_each_record() -> None:
    """A callback has what was recorded, as `last` has it."""
    heard: list[Recorded] = []
    model = stock_mlp()
    with gp.watch(model, every=2) as probe:
        probe.listen(heard.append)
        steps(probe, model, 4)
        assert probe.last is heard[-1]
    assert [one.step for one in heard] == [0, 2]
    assert {r.site for r in heard[0].series} == {s.site for s in heard[0].scores}
    assert set(CHARTED) - {"delta"} <= set(vars(heard[0].series[0]))


def test_a_jump_is_an_event() -> None:
    """A layer whose outputs are squared from step 40 on is called within two records."""

    class Bent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bent = False
            self.layer, self.head = nn.Linear(32, 24), nn.Linear(24, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.bent:
                x = x.square()
            return self.head(F.relu(self.layer(x)))

    model = Bent()
    with gp.watch(model, every=1, tests=(), intervals=False) as probe, torch.no_grad():
        for step in range(45):
            model.bent = step >= 40
            model(torch.randn(256, 32))
            probe.step()
    events = probe.run.events
    assert events
    assert {event.step for event in events} <= {41, 42}
    assert any(event.site == "layer" and event.kind == "jump" for event in events)


# -- the store


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """`resume` appends after the last recorded step; without it the file is left alone."""
    path, model = tmp_path / "run.sqlite", stock_mlp()
    with gp.watch(model, every=1, store=path) as probe:
        steps(probe, model, 3)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="resume"), gp.watch(model, every=1, store=path):
        pass
    assert path.read_bytes() == before
    with gp.watch(model, every=1, store=path, resume=True) as probe:
        steps(probe, model, 2)
    assert sorted({s.step for s in gp.load(path).scores}) == [0, 1, 2, 3, 4]


def test_a_run_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    """Another thread loads the file between steps and finds what was recorded so far."""
    path, model = tmp_path / "run.sqlite", stock_mlp()
    found: list[int] = []

    def count() -> None:
        found.append(len({s.step for s in gp.load(path).scores}))

    with gp.watch(model, every=1, store=path) as probe:
        for _ in range(3):
            steps(probe, model, 1)
            reader = threading.Thread(
                target=lambda: found.append(len({s.step for s in gp.load(path).scores}))
            )
            reader.start()
            reader.join()
    assert found == [1, 2, 3]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run.sqlite"]


def test_an_error_in_the_loop_keeps_what_was_recorded(tmp_path: Path) -> None:
    """The store is closed and whole, no hook is left, and the error goes on."""
    path, model = tmp_path / "run.sqlite", stock_mlp()

    def broken() -> None:
        with gp.watch(model, every=1, store=path) as probe:
            steps(probe, model, 2)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert {s.step for s in gp.load(path).scores} == {0, 1}
    assert hooks(model) == 0


def test_a_store_that_cannot_be_written_is_refused_before_training(tmp_path: Path) -> None:
    """A missing folder and a folder in place of a file: an error on entering, no hook left."""
    model = stock_mlp()
    for path in (tmp_path / "missing" / "run.sqlite", tmp_path):
        with pytest.raises(StoreError), gp.watch(model, store=path):
            pass
    assert hooks(model) == 0


# -- bad calls


def test_a_step_outside_is_refused() -> None:
    """Before entering and after closing, with what to do."""
    model = stock_mlp()
    probe = gp.watch(model)
    with pytest.raises(WatchError, match="outside"):
        probe.step()
    with probe:
        steps(probe, model, 1)
    with pytest.raises(WatchError, match="outside"):
        probe.step()
    probe.close()
    with pytest.raises(WatchError, match="once"):
        probe.__enter__()


def test_two_calls_for_one_step_are_refused_and_lose_nothing() -> None:
    """The second finds no pass of the model; the step goes on counting once the loop is right again."""
    model = stock_mlp()
    with gp.watch(model, every=1) as probe:
        steps(probe, model, 1)
        with pytest.raises(WatchError, match="no pass in training mode"):
            probe.step()
        steps(probe, model, 1)
    assert {s.step for s in probe.run.scores} == {0, 1}


def test_a_model_in_evaluation_mode_is_refused() -> None:
    """A loop that forgot `train()` is told at the first step."""
    model = stock_mlp().eval()
    with gp.watch(model) as probe:
        model(torch.randn(9, 32))
        with pytest.raises(WatchError, match="training mode"):
            probe.step()


def test_a_model_without_sites_is_refused() -> None:
    """Nothing to follow is an error with the likely cause."""
    with gp.watch(nn.Sequential(nn.Flatten())) as probe:
        probe.model(torch.randn(9, 3, 2))
        with pytest.raises(WatchError, match="nothing was captured"):
            probe.step()


def test_a_metric_must_be_a_number() -> None:
    """Text is refused by its name, before anything is recorded."""
    model = stock_mlp()
    with gp.watch(model) as probe:
        model(torch.randn(9, 32))
        with pytest.raises(ValueError, match="note must be a number"):
            probe.step(note="good")  # type: ignore[arg-type]
        assert not probe.run.scores


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"every": 0}, "every must be an integer of at least 1"),
        ({"every": 2.5}, "every must be an integer"),
        ({"max_samples": 3}, "max_samples must be an integer of at least 8"),
        ({"max_units": 0}, "max_units"),
        ({"seed": -1}, "seed"),
        ({"view": "init"}, "view must be"),
        ({"tests": ("shapiro",)}, "shapiro_wilk"),
        ({"resume": True}, "resume goes with a store"),
    ],
)
def test_arguments_out_of_range_are_refused(options: dict[str, Any], said: str) -> None:
    """Each by its name, with the requirement and what came."""
    with pytest.raises(ValueError, match=said):
        gp.watch(stock_mlp(), **options)


def test_only_modules_can_be_watched() -> None:
    """A path or a function is refused."""
    with pytest.raises(ValueError, match="model must be a torch"):
        gp.watch("model.pt")  # type: ignore[arg-type]


def test_layers_that_come_and_go_are_followed() -> None:
    """A layer that grows starts its charts again, and a new one appears; both are in the run."""
    model = nn.Sequential(nn.Linear(32, 8), nn.ReLU(), nn.Linear(8, 4))
    with gp.watch(model, every=1) as probe:
        model(torch.randn(40, 32))
        probe.step()
        model[0], model[2] = nn.Linear(32, 12), nn.Linear(12, 4)
        model.append(nn.Tanh())
        model(torch.randn(40, 32))
        probe.step()
    run = probe.run
    assert [(s.step, s.num_features) for s in run.scores if s.site == "0"] == [(0, 8), (1, 12)]
    assert [s.step for s in run.scores if s.site == "3"] == [1]
    assert any("8" in text and "12" in text for text in run.warnings)
