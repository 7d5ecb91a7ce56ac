"""The pipeline from a model and its batches to a run."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import gaussprobe as gp
from gaussprobe import stats
from gaussprobe.capture import Capture
from gaussprobe.errors import (
    CaptureError,
    DataError,
    ForwardError,
    GaussprobeError,
    SelectionError,
    SyntheticInputWarning,
    UnsupportedError,
)
from gaussprobe.types import LayerScore, Run
from tests.networks import Residual, SharedFunctional, stock_mlp


def by_name(run: Run) -> dict[str, LayerScore]:
    return {score.site: score for score in run.scores}


def test_stock_network_scanned_from_its_file(tmp_path: Path) -> None:
    """On N(0, I), site 0 is gaussian as it was before its in-place ReLU; a dead unit is constant."""
    model = stock_mlp()
    with torch.no_grad():
        model[0].weight[5] = 0.0
    torch.save(model, tmp_path / "model.pt")
    x = torch.randn(4000, 32)
    torch.save(x, tmp_path / "x.pt")
    run = gp.scan(tmp_path / "model.pt", tmp_path / "x.pt")
    scores = by_name(run)
    assert list(scores) == ["0", "1", "2", "3", "4"]
    first = scores["0"]
    assert first.kind == ("affine", "preactivation")
    assert (first.verdict, first.departure) == ("gaussian", "none")
    assert (first.n_seen, first.n_tested, first.num_features) == (4000, 2048, 48)
    assert first.notes == ("1 of 48 units constant, left out: 5",)
    # Medians over the other 47 units, from the tensor itself.
    with Capture(model) as capture, torch.no_grad(), capture.forward(4000):
        model(x)
    values = capture.samples()[0].values
    assert torch.equal(values, model[0](x).detach()[torch.from_numpy(capture.samples()[0].examples)])
    kept = values[:, torch.arange(48) != 5]
    assert first.skewness == pytest.approx(float(stats.skewness(kept.double()).median()), abs=1e-12)
    assert float(values.min()) < -1  # not what the ReLU left
    assert by_name(run)["1"].kind == ("activation",)


def test_functional_form_gives_the_same_numbers() -> None:
    """F.relu_, torch.tanh and a shared Linear: functional names, equal scores."""
    first, second = nn.Linear(16, 24), nn.Linear(24, 24)
    modules = nn.Sequential(first, nn.ReLU(inplace=True), second, nn.Tanh(), second)
    x = torch.randn(500, 16)
    one, other = gp.scan(modules, x), gp.scan(SharedFunctional(first, second), x)
    assert [s.site for s in other.scores] == ["first", ":relu", "second", ":tanh", "second#2"]
    for a, b in zip(one.scores, other.scores, strict=True):
        assert {**vars(a), "site": ""} == {**vars(b), "site": ""}


def correlated_fields(
    seed: int, examples: int, units: int, size: int = 14, length: float = 3.0
) -> torch.Tensor:
    """Independent Gaussian fields with correlation exp(-d^2 / (2 length^2)) between pixels d apart."""
    distance = torch.arange(size, dtype=torch.float64)
    correlation = torch.exp(-((distance[:, None] - distance) ** 2) / (2 * length**2))
    values, vectors = torch.linalg.eigh(correlation)
    root = (vectors * values.clamp(min=0).sqrt()).float()
    generator = torch.Generator().manual_seed(seed)
    return root @ torch.randn(examples, units, size, size, generator=generator) @ root.T


def test_level_holds_on_correlated_feature_maps() -> None:
    """On smooth Gaussian fields, the share of units rejected at raw .05 is .05 +- .01 over 100 seeds.

    Taking every pixel for a sample of its own rejects most units: what the sampling is for.
    """
    units = 64
    model = nn.Conv2d(units, units, 1, groups=units, bias=False)
    nn.init.ones_(model.weight)
    shares, flattened = [], []
    for seed in range(100):
        x = correlated_fields(seed, examples=208, units=units)
        with torch.no_grad(), Capture(model) as capture:
            for batch in x.split(104):
                with capture.forward(104):
                    model(batch)
        samples = capture.samples()[0]
        assert samples.values.shape == (208, units)
        shares.append(float((stats.shapiro_wilk(samples.values).pvalue < 0.05).float().mean()))
        if seed < 3:
            pooled = x[:25].permute(0, 2, 3, 1).reshape(-1, units)
            flattened.append(float((stats.anderson_darling(pooled).pvalue < 0.05).float().mean()))
    assert np.mean(shares) == pytest.approx(0.05, abs=0.01)
    assert np.mean(flattened) > 0.5


def test_several_positions_of_few_examples_are_not_biased() -> None:
    """Smooth Gaussian fields of 20 to 100 images: delta is centred at 0 and no departure is invented."""
    model = nn.Conv2d(32, 32, 1, groups=32, bias=False)
    nn.init.ones_(model.weight)
    for n in (20, 100):
        scores = [gp.scan(model, correlated_fields(seed, n, 32, length=12.0)).scores[0] for seed in range(20)]
        medians = np.array([s.delta.median for s in scores])
        assert {s.n_tested for s in scores} == {8 * n}
        assert all(s.tests["shapiro_wilk"].pvalue is None for s in scores)
        # The correction centres the mean; the median of a right-skewed law lies below it.
        assert -1.2 < np.mean(medians) / stats.tables.null_sd("delta", n) < 0.3
        assert {s.departure for s in scores} == {"none"}
        assert "non-gaussian" not in {s.verdict for s in scores}


def test_same_seed_same_run_and_another_seed_another_sample() -> None:
    """Two scans with one seed agree in every score, with a model that draws noise and a shuffled loader."""

    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(x + torch.randn_like(x) + random.random() + float(np.random.rand()))

    model = Noisy()
    loader = DataLoader(TensorDataset(torch.randn(600, 8)), batch_size=50, shuffle=True)
    one, same, other = (gp.scan(model, loader, seed=seed, max_samples=300) for seed in (3, 3, 4))
    assert repr(one.scores) == repr(same.scores)
    assert repr(one.scores) != repr(other.scores)


def test_model_and_generators_are_left_as_found() -> None:
    """Training flags of each module, buffers, parameters, attributes and every generator are as before."""
    model = nn.Sequential(Residual(), nn.Dropout(0.3))
    model.train()
    model[0].norm.eval()
    flags = [m.training for m in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    attributes = [set(vars(m)) for m in model.modules()]
    x = torch.randn(40, 3, 8, 8)
    torch_state, numpy_state, python_state = (
        torch.get_rng_state(),
        np.random.get_state()[1],
        random.getstate(),
    )
    for mode in ("eval", "train"):
        gp.scan(model, x, mode=mode)  # type: ignore[arg-type]
    assert [m.training for m in model.modules()] == flags
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert [set(vars(m)) for m in model.modules()] == attributes
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    assert random.getstate() == python_state


def test_training_mode_uses_batch_statistics_and_withholds_pvalues() -> None:
    """mode="train" lets BatchNorm normalise by the batch, gives no p-values, and says so."""
    model = nn.Sequential(nn.BatchNorm1d(4)).eval()
    x = torch.randn(400, 4) * 5 + 3
    evaluated, trained = gp.scan(model, x), gp.scan(model, x, mode="train")
    assert evaluated.scores[0].tests["shapiro_wilk"].pvalue is not None
    assert trained.scores[0].tests["shapiro_wilk"].pvalue is None
    assert "training-mode" in trained.scores[0].notes[0]
    assert trained.metadata.mode == "train"


def test_nonfinite_layer_does_not_disturb_the_others() -> None:
    """One NaN makes its layer `non-finite` with counts; the layers before it are scored."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.good, self.bad = nn.Linear(6, 8), nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.good(x)
            return self.bad(torch.where(x[:, :1] > 3.0, float("nan"), h))

    x = torch.randn(1000, 6).clamp(max=2.9)
    x[17, 0] = 3.5
    scores = by_name(gp.scan(Model(), x))
    assert scores["good"].verdict == "gaussian"
    assert (scores["bad"].verdict, scores["bad"].departure) == ("undetermined", "non-finite")
    assert scores["bad"].notes == ("8 NaN and 0 infinite of 8,000 values, in 8 of 8 units",)


def test_fewer_than_eight_samples() -> None:
    """Five examples: every layer is undetermined, with the reason."""
    run = gp.scan(stock_mlp(), torch.randn(5, 32))
    assert {s.verdict for s in run.scores} == {"undetermined"}
    assert all(s.notes == ("5 samples per unit; at least 8 are needed",) for s in run.scores)


def test_forward_that_raises_names_the_site_reached_last() -> None:
    """The error carries the last site, the inputs' shape and the exception's first line; no hook is left."""
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(5, 2))
    with pytest.raises(ForwardError) as caught:
        gp.scan(model, torch.randn(10, 4))
    message = str(caught.value)
    assert "after site '1'" in message
    assert "(10, 4)" in message
    assert "mat1 and mat2 shapes cannot be multiplied" in message
    assert len(message.splitlines()) == 2


@pytest.mark.parametrize("error", [SystemExit(0), GeneratorExit(), KeyError("k")])
def test_a_forward_that_exits_is_a_failure(error: BaseException) -> None:
    """sys.exit in a forward is an error like any other, not a silent success."""

    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise error

    with pytest.raises(ForwardError, match=type(error).__name__):
        gp.scan(Model(), torch.randn(20, 3))


def test_compiled_models_are_captured_eagerly() -> None:
    """A model compiled and warmed up gives the sites, names and numbers of the plain one."""
    model, x = stock_mlp(), torch.randn(64, 32)
    compiled = torch.compile(model, backend="eager")
    compiled(x)
    plain, other = gp.scan(model, x), gp.scan(compiled, x)
    assert repr(other.scores) == repr(plain.scores)


def test_run_says_briefly_what_it_is() -> None:
    """The repr of a run is one short line."""
    run = gp.scan(stock_mlp(), torch.randn(1500, 32))
    assert repr(run).startswith("<Run of Sequential: 5 sites; ")
    assert len(repr(run)) < 100


def test_include_that_matches_nothing_names_the_nearest() -> None:
    """A mistyped pattern is answered with the nearest site names."""
    with pytest.raises(SelectionError, match=r"'hed' matches none of 8 sites\nnearest: head"):
        gp.scan(Residual(), torch.randn(20, 3, 8, 8), include="hed")
    with pytest.raises(SelectionError, match=r"'block\*' matches none of 5 sites\nthey are: 0, 1, 2, 3, 4"):
        gp.scan(stock_mlp(), torch.randn(20, 32), include="block*")
    with pytest.raises(SelectionError, match="leaves none"):
        gp.scan(Residual(), torch.randn(20, 3, 8, 8), exclude="*")


def test_kind_keeps_sites_of_that_kind() -> None:
    """kind="preactivation" keeps what activations receive, and an absent kind names those present."""
    model, x = Residual(), torch.randn(20, 3, 8, 8)
    assert [s.site for s in gp.scan(model, x, kind="preactivation").scores] == ["norm", "act:input#2", "head"]
    with pytest.raises(SelectionError, match="is of kind norm; the model has affine, preactivation"):
        gp.scan(stock_mlp(), torch.randn(20, 32), kind="norm")


def test_nothing_to_capture_is_an_error_with_the_cause() -> None:
    """A model without any site, and one that never calls its layers, say so."""
    with pytest.raises(CaptureError, match="calls no linear"):
        gp.scan(nn.Flatten(), torch.randn(20, 3))

    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1

    with pytest.raises(CaptureError, match="'linear': never called"):
        gp.scan(Unused(), torch.randn(20, 3))


def test_synthetic_inputs_are_announced() -> None:
    """Without data the run warns, and says so among its warnings and in its data."""
    with pytest.warns(SyntheticInputWarning):
        run = gp.scan(stock_mlp())
    assert run.metadata.data["synthetic"] is True
    assert run.warnings[0].startswith("SYNTHETIC INPUTS")


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"view": "pixel"}, ValueError, "view must be one of unit, layer, example, init, got 'pixel'"),
        ({"mode": "test"}, ValueError, "mode must be one of eval, train, got 'test'"),
        ({"max_samples": 7}, ValueError, "max_samples must be at least 8, got 7"),
        ({"seed": -1}, ValueError, "seed must be at least 0 .* got -1"),
        ({"max_units": 0}, ValueError, "max_units must be at least 1, got 0"),
        ({"kind": "relu"}, ValueError, "kind must be among affine, .* got 'relu'"),
        ({"view": "init"}, UnsupportedError, 'view "init"'),
        ({"deep": "gates"}, ValueError, "deep must be True, False or .logits., got .gates."),
        ({"device": "cuda:99"}, DataError, "device 'cuda:99' cannot be used"),
        ({"device": "meta"}, DataError, "device 'meta' cannot be used"),
        ({"device": "gpu"}, DataError, "device 'gpu' cannot be used"),
    ],
)
def test_bad_arguments_are_named(options: dict[str, object], error: type[Exception], match: str) -> None:
    """Each argument out of range, or not in this version, is refused by name."""
    with pytest.raises(error, match=match):
        gp.scan(stock_mlp(), torch.randn(20, 32), **options)  # type: ignore[arg-type]


def test_empty_data_is_an_error() -> None:
    """No batches at all is refused."""
    with pytest.raises(GaussprobeError):
        gp.scan(stock_mlp(), [])


def test_batches_of_every_form() -> None:
    """A tensor, keyword dicts, pairs with a surplus target, and a loader of pairs give equal scores."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(6, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(x)

    model, x, y = Model(), torch.randn(300, 6), torch.zeros(300)
    forms = [
        x,
        [{"x": part} for part in x.split(100)],
        [(part, part[:, 0]) for part in x.split(64)],
        DataLoader(TensorDataset(x, y), batch_size=32),
    ]
    runs = [gp.scan(model, form) for form in forms]
    assert len({repr(run.scores) for run in runs}) == 1
    assert runs[0].metadata.data["n_examples"] == 300
    assert any("target" in note for note in runs[2].metadata.data["notes"])


def test_sequence_first_models_count_examples_along_the_second_dimension() -> None:
    """An LSTM with batch_first=False on (time, examples, features), as many steps as examples."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(4, 6)
            self.head = nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.lstm(x)[0])

    run = gp.scan(Model(), [torch.randn(250, 250, 4)])
    head = by_name(run)["head"]
    assert (head.n_seen, head.n_tested) == (250 * 250, 250)
    assert head.tests["shapiro_wilk"].pvalue is not None
    assert any("second dimension" in note for note in run.metadata.data["notes"])


def test_run_round_trips_and_frames(tmp_path: Path) -> None:
    """save and load give the same run; the frame has one row per site."""
    run = gp.scan(Residual(), torch.randn(50, 3, 8, 8))
    run.save(tmp_path / "run.sqlite")
    again = gp.load(tmp_path / "run.sqlite")
    assert repr(again.scores) == repr(run.scores)
    assert again.metadata == run.metadata
    frame = run.to_frame()
    assert list(frame["site"]) == [s.site for s in run.scores]
    assert frame["delta_median"].tolist() == pytest.approx([s.delta.median for s in run.scores], nan_ok=True)
