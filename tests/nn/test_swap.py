"""Normality normalization put into models, and taken out."""

from __future__ import annotations

import copy
import io
import logging
import warnings

import pytest
import torch
from torch import nn

import gaussprobe as gp
from gaussprobe.errors import GaussprobeWarning


class Own(nn.LayerNorm):
    """A subclass that computes something else."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input) * 2


class Renamed(nn.BatchNorm1d):
    """A subclass that computes the same."""


class RMSNorm(nn.Module):
    """A layer of the user's own."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / x.square().mean(-1, keepdim=True).sqrt()


class Model(nn.Module):
    """One of each kind, one shared, one listed twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.batch = nn.BatchNorm2d(8, momentum=None)
        self.instance = nn.InstanceNorm2d(8, affine=True)
        self.group = nn.GroupNorm(2, 8)
        self.renamed = Renamed(8)
        self.renamed.label = "kept"
        self.layer = nn.LayerNorm(8)
        self.again = self.layer
        self.own = Own(8)
        self.rms = RMSNorm()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.group(self.instance(self.batch(self.conv(x)))).relu().mean((2, 3))
        return self.rms(self.own(self.again(self.layer(self.renamed(x)))))


def trained() -> Model:
    model = Model().train()
    for _ in range(3):
        model(torch.randn(16, 3, 8, 8).exp())
    return model


def test_every_layer_changes_and_comes_back() -> None:
    """Parameters stay the objects they are, shared layers one, hooks in place; restored, bit for bit."""
    model = trained()
    model.layer.eval()
    calls: list[int] = []
    hook = model.batch.register_forward_hook(lambda *_: calls.append(1))
    before, x = copy.deepcopy(model), torch.randn(4, 3, 8, 8)
    parameters = {name: id(p) for name, p in model.named_parameters()}
    assert gp.nn.gaussianize(model) is model
    assert {name: id(p) for name, p in model.named_parameters()} == parameters
    assert set(before.state_dict()) == {k for k in model.state_dict() if "running_lambda" not in k}
    assert [
        type(m).__name__ for m in (model.batch, model.instance, model.group, model.renamed, model.layer)
    ] == [
        "BatchNormalNorm2d",
        "InstanceNormalNorm2d",
        "GroupNormalNorm",
        "BatchNormalNorm1d",
        "LayerNormalNorm",
    ]
    assert (model.batch.momentum, model.renamed.label) == (None, "kept")
    assert model.again is model.layer
    assert not model.layer.training
    assert model.batch.training
    assert (model.batch.noise, model.layer.noise) == (0.4, 1.0)
    model(x)
    assert calls == [1]
    hook.remove()
    model.load_state_dict(before.state_dict(), strict=False)
    assert gp.nn.restore(model) is model
    assert isinstance(model.renamed, Renamed)
    assert model.state_dict().keys() == before.state_dict().keys()
    assert vars(model.batch).keys() == vars(before.batch).keys()
    for mode in (True, False):
        model.load_state_dict(before.state_dict())
        assert torch.equal(model.train(mode)(x), copy.deepcopy(before).train(mode)(x))


def test_evaluation_is_what_it_was_until_trained() -> None:
    """Running lambda begins at 1: a BatchNorm network computes in evaluation what it did."""
    model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)).train()
    for _ in range(4):
        model(torch.randn(32, 5))
    x = torch.randn(7, 5)
    before = model.eval()(x)
    torch.testing.assert_close(gp.nn.gaussianize(model)(x), before, rtol=1e-5, atol=1e-6)


def test_without_strength_and_noise_nothing_changes() -> None:
    """In training too, to rounding."""
    model = trained()
    x, other = torch.randn(4, 3, 8, 8), copy.deepcopy(model)
    gp.nn.gaussianize(model, noise=0.0, strength=0.0)
    torch.testing.assert_close(model(x), other(x), rtol=1e-5, atol=1e-5)


def test_description() -> None:
    """What was changed, and what could not be with the reason."""
    model = trained()
    gp.nn.gaussianize(model, exclude=["inst*"])
    found = gp.nn.describe(model)
    assert [(one.name, one.before, one.after) for one in found.changed] == [
        ("batch", "BatchNorm2d", "BatchNormalNorm2d"),
        ("group", "GroupNorm", "GroupNormalNorm"),
        ("renamed", "Renamed", "BatchNormalNorm1d"),
        ("layer", "LayerNorm", "LayerNormalNorm"),
    ]
    assert [(one.name, one.reason) for one in found.unchanged] == [
        ("instance", "not asked for"),
        ("own", "its forward is its own, not that of LayerNorm"),
        ("rms", "it is none of torch.nn's BatchNorm, InstanceNorm, LayerNorm and GroupNorm"),
    ]
    assert str(found).splitlines()[0] == "4 changed, 3 not"
    assert "  batch: BatchNorm2d -> BatchNormalNorm2d" in str(found).splitlines()


def test_what_cannot_be_changed_says_why() -> None:
    """Lazy, parametrized and compiled layers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's, of TorchScript
        scripted = torch.jit.script(nn.LayerNorm(4))
    model = nn.Sequential(nn.LazyBatchNorm1d(), nn.LayerNorm(4), scripted)
    nn.utils.parametrize.register_parametrization(model[1], "weight", nn.Identity())
    with pytest.warns(GaussprobeWarning, match="no layer can be changed"):
        gp.nn.gaussianize(model)
    reasons = [one.reason for one in gp.nn.describe(model).unchanged]
    assert [reason.split(":")[0] for reason in reasons] == [
        "its number of features is not known yet",
        "it is parametrized",
        "it is compiled to TorchScript",
    ]
    model[0](torch.randn(4, 3))  # takes torch's hooks off


def test_an_attribute_of_the_users_is_not_written_over() -> None:
    """A layer that already has what ours would set stays as it is."""
    model = nn.Sequential(nn.LayerNorm(4), nn.LayerNorm(4))
    model[0].noise = "mine"
    gp.nn.gaussianize(model)
    assert [one.reason for one in gp.nn.describe(model).unchanged] == ["it has a 'noise' of its own"]
    assert gp.nn.restore(model)[0].noise == "mine"


class Slots(nn.BatchNorm2d):
    __slots__ = ("a",)


class Checks(nn.BatchNorm2d):
    def _check_input_dim(self, input: torch.Tensor) -> None:
        """Anything goes."""


def test_nothing_is_left_half_done() -> None:
    """Layers that cannot be changed are found out before any is, and say why."""
    clashing, negative = nn.BatchNorm2d(3), nn.BatchNorm2d(3, eps=-1e-9)
    clashing.register_buffer("running_lambda", torch.ones(3))
    model = nn.Sequential(nn.BatchNorm2d(3), Slots(3), Checks(3), clashing, negative)
    gp.nn.gaussianize(model)
    assert [one.reason for one in gp.nn.describe(model).unchanged] == [
        "its class has __slots__",
        "its _check_input_dim is its own, not that of BatchNorm2d",
        "it has a 'running_lambda' of its own",
        "its eps is negative",
    ]
    keys = set(gp.nn.restore(model).state_dict())
    assert "3.running_lambda" in keys
    assert "0.running_lambda" not in keys


def test_a_layer_that_is_ours_keeps_its_options() -> None:
    """It takes noise and strength, and stays compiled and of its kind of noise."""
    model = nn.Sequential(gp.nn.BatchNormalNorm2d(3, noise=0.7, noise_kind="unscaled", compile=True))
    gp.nn.gaussianize(model, noise=0.2)
    assert (model[0].noise, model[0].noise_kind, model[0].compiled) == (0.2, "unscaled", True)


def test_synchronised_later_it_still_goes_back() -> None:
    """Conversion remembers what the layer was before."""
    model = gp.nn.gaussianize(nn.Sequential(nn.BatchNorm2d(3)))
    gp.nn.SyncBatchNormalNorm.convert_sync_batchnorm(model)
    assert gp.nn.describe(model).changed[0].before == "BatchNorm2d"
    assert type(gp.nn.restore(model)[0]) is nn.BatchNorm2d
    assert vars(model[0]).keys() == vars(nn.BatchNorm2d(3)).keys()


def test_patterns_and_the_root() -> None:
    """`include` and `exclude` go by names; a model may itself be the layer."""
    model = trained()
    gp.nn.gaussianize(model, include="*a*", exclude="batch")
    assert [one.name for one in gp.nn.describe(model).changed] == ["instance", "renamed", "layer"]
    alone = gp.nn.gaussianize(nn.LayerNorm(4))
    assert type(alone) is gp.nn.LayerNormalNorm
    assert type(gp.nn.restore(alone)) is nn.LayerNorm


def test_a_second_call_sets_noise_and_strength() -> None:
    """And keeps running lambdas; restoring leads to where it all began."""
    model = gp.nn.gaussianize(trained())
    model(torch.randn(4, 3, 8, 8))
    lmbda = model.batch.running_lambda.clone()
    gp.nn.gaussianize(model, noise=0.1, strength=0.5)
    assert (model.batch.noise, model.layer.strength) == (0.1, 0.5)
    assert torch.equal(model.batch.running_lambda, lmbda)
    assert type(gp.nn.restore(model).batch) is nn.BatchNorm2d


def test_a_model_without_a_layer_is_said() -> None:
    """It stays as it was."""
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    with pytest.warns(GaussprobeWarning, match="the model has no normalization layer"):
        assert gp.nn.gaussianize(model) is model


def test_changes_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """One line for each layer."""
    with caplog.at_level(logging.INFO, "gaussprobe"):
        gp.nn.gaussianize(nn.Sequential(nn.LayerNorm(3)))
    assert caplog.messages == ["0: LayerNorm -> LayerNormalNorm"]


@pytest.mark.parametrize("bad", [{"noise": -1.0}, {"strength": 1.1}])
def test_bad_options_change_nothing(bad: dict[str, float]) -> None:
    """Refused before any layer is touched."""
    model = trained()
    with pytest.raises(ValueError, match=next(iter(bad))):
        gp.nn.gaussianize(model, **bad)
    assert not gp.nn.describe(model).changed


def test_layers_that_are_ours_stay() -> None:
    """`restore` undoes what `gaussianize` did, and nothing else."""
    model = nn.Sequential(gp.nn.LayerNormalNorm(4), nn.LayerNorm(4))
    gp.nn.restore(gp.nn.gaussianize(model))
    assert [type(m).__name__ for m in model] == ["LayerNormalNorm", "LayerNorm"]


def test_a_copy_restores_too() -> None:
    """The way back goes with deepcopy."""
    model = copy.deepcopy(gp.nn.gaussianize(trained()))
    assert type(gp.nn.restore(model).batch) is nn.BatchNorm2d


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("padded", [True, False])
def test_fused_kernels_do_not_pass_a_layer_by(norm_first: bool, padded: bool) -> None:
    """nn.TransformerEncoder evaluated without gradients: the transform is in, changed, loaded or by hand."""
    part = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=norm_first)
    model = nn.TransformerEncoder(part, 2, enable_nested_tensor=not norm_first).eval()
    x = torch.randn(3, 5, 16).exp()
    real = torch.ones(3, 5, dtype=torch.bool)
    if padded:
        real[1, 3:] = real[2, 4:] = False
    given = {"src_key_padding_mask": ~real} if padded else {}
    with torch.no_grad():
        plain = model(x, **given)
        gp.nn.gaussianize(model)
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        found = [
            each(x, **given) for each in (model, copy.deepcopy(model), torch.load(file, weights_only=False))
        ]
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            expected = model(x, **given)
        finally:
            torch.backends.mha.set_fastpath_enabled(True)
        assert not torch.allclose(expected[real], plain[real], atol=1e-2)
        for each in found:
            torch.testing.assert_close(each[real], expected[real], rtol=1e-4, atol=1e-5)
        handle = model.layers[0].norm1.register_forward_pre_hook(lambda *_: None)
        gp.nn.restore(model)
        handle.remove()
        assert not model.layers[0].norm1._forward_pre_hooks
        assert torch.equal(model(x, **given), plain)
        layer = copy.deepcopy(part)
        layer.norm1 = gp.nn.LayerNormalNorm(16)
        after = layer.eval()(x)
    torch.testing.assert_close(after, layer(x).detach(), rtol=1e-4, atol=1e-5)
