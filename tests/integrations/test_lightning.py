"""Lightning's `Trainer.fit` with the callback, on a small convolutional network."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import gaussprobe as gp
from gaussprobe.errors import StoreError
from gaussprobe.types import Run
from gaussprobe.watch import Recorded
from tests import needs

pl = needs.package("lightning.pytorch")

from gaussprobe.integrations.lightning import GaussProbeCallback  # noqa: E402  (imports Lightning)

# What Lightning itself does and says with this torch, and on a machine with few cores.
pytestmark = [
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*is smaller than the logging interval"),
]

EXAMPLES, BATCH, RATE, DECAY = 96, 16, 0.1, 0.9
QUICK: dict[str, Any] = {"tests": (), "intervals": False}
SITES = ["net.0", "net.1", "net.2", "net.4"]


class Classifier(pl.LightningModule):  # type: ignore[misc,name-defined]
    """Convolution, BatchNorm, ReLU, Linear; remembers the loss of every batch."""

    def __init__(self, fail_at: int | None = None) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4)
        )
        self.fail_at = fail_at
        self.losses: list[float] = []
        self.validations: list[float] = []

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        if len(self.losses) == self.fail_at:
            raise RuntimeError("out of luck")
        loss = F.cross_entropy(self.net(batch[0]), batch[1])
        self.losses.append(loss.item())
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        assert not self.training
        self.log("val_loss", F.cross_entropy(self.net(batch[0]), batch[1]))

    def on_validation_epoch_end(self) -> None:
        if not self.trainer.sanity_checking:
            self.validations.append(float(self.trainer.callback_metrics["val_loss"]))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=RATE)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, DECAY)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]


def loader() -> DataLoader[tuple[torch.Tensor, ...]]:
    """The same 96 made-up images, in the same order."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(EXAMPLES, 1, 8, 8, generator=generator)
    labels = torch.randint(0, 4, (EXAMPLES,), generator=generator)
    return DataLoader(TensorDataset(images, labels), batch_size=BATCH)


def trainer(folder: Path, *callbacks: Any, epochs: int, **options: Any) -> Any:
    """A trainer on the CPU that writes nothing but checkpoints, if it is told to."""
    return pl.Trainer(
        **{"max_epochs": epochs, "accelerator": "cpu", "logger": False, "callbacks": list(callbacks)},
        **{"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
        | options,
        default_root_dir=str(folder),
    )


def metric(run: Run, name: str) -> dict[int, float]:
    """Values of a metric by step."""
    return {one.step: one.value for one in run.metrics if one.name == name}


def steps_of(run: Run) -> list[int]:
    """The recorded steps of the first site."""
    return [score.step for score in run.scores if score.site == SITES[0]]


def fresh(fail_at: int | None = None) -> Classifier:
    """A classifier whose weights are always the same."""
    torch.manual_seed(0)
    return Classifier(fail_at)


def test_fit(tmp_path: Path) -> None:
    """Every other optimizer step is a record of both its batches and no validation, with its metrics."""
    heard: list[Recorded] = []
    callback = GaussProbeCallback(every=2, listeners=[heard.append])
    module = fresh()
    training = trainer(tmp_path, callback, epochs=3, accumulate_grad_batches=2)
    training.fit(module, loader(), loader())
    run = callback.run
    assert training.global_step == 9
    assert steps_of(run) == [0, 2, 4, 6, 8] == [one.step for one in heard]
    assert [score.site for score in run.scores if score.step == 4] == SITES
    assert {(score.site, score.n_seen) for score in run.scores} == {
        *((site, 2 * BATCH * 36) for site in SITES[:3]),
        (SITES[3], 2 * BATCH),
    }
    assert run.metadata.data["steps"] == 9
    # of step n: batches 2n and 2n + 1
    pairs = {n: (module.losses[2 * n], module.losses[2 * n + 1]) for n in steps_of(run)}
    assert metric(run, "loss") == pytest.approx({n: sum(pair) / 2 for n, pair in pairs.items()}, rel=1e-6)
    assert metric(run, "train_loss") == pytest.approx({n: pair[1] for n, pair in pairs.items()}, rel=1e-6)
    assert metric(run, "learning_rate") == pytest.approx({n: RATE * DECAY**n for n in pairs}, rel=1e-12)
    # validations after steps 2 and 5 are of the next records, once; that after step 8 is of none
    expected = {4: module.validations[0], 6: module.validations[1]}
    assert len(module.validations) == 3
    assert metric(run, "val_loss") == pytest.approx(expected, rel=1e-6)


def test_training_is_what_it_was_without(tmp_path: Path) -> None:
    """Losses and weights are bit for bit those of a training without the callback."""
    watched, plain = fresh(), fresh()
    trainer(tmp_path, GaussProbeCallback(every=2), epochs=1).fit(watched, loader(), loader())
    trainer(tmp_path, epochs=1).fit(plain, loader(), loader())
    assert watched.losses == plain.losses
    for a, b in zip(watched.state_dict().values(), plain.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_an_exception_closes_the_watch(tmp_path: Path) -> None:
    """Where training fails, hooks go, and the records until then are in the store."""
    store = tmp_path / "run.sqlite"
    callback = GaussProbeCallback(every=2, store=store, **QUICK)
    with pytest.raises(RuntimeError, match="out of luck"):
        trainer(tmp_path, callback, epochs=1).fit(fresh(fail_at=5), loader(), loader())
    module = callback.probe.model
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())
    assert steps_of(gp.load(store)) == [0, 2, 4]


def test_resumed_from_a_checkpoint(tmp_path: Path) -> None:
    """Training that goes on from a checkpoint appends to the store; steps go on with those of Lightning."""
    store, checkpoint = tmp_path / "run.sqlite", tmp_path / "one.ckpt"
    first = trainer(tmp_path, GaussProbeCallback(every=4, store=store, **QUICK), epochs=1)
    first.fit(fresh(), loader(), loader())
    first.save_checkpoint(checkpoint)
    assert steps_of(gp.load(store)) == [0, 4]
    callback = GaussProbeCallback(every=4, store=store, **QUICK)
    second = trainer(tmp_path, callback, epochs=3)
    second.fit(fresh(), loader(), loader(), ckpt_path=checkpoint)
    run = gp.load(store)
    assert second.global_step == 18
    assert steps_of(run) == [0, 4, 8, 12, 16]
    assert metric(run, "learning_rate") == pytest.approx(
        {step: RATE * DECAY**step for step in range(0, 18, 4)}, rel=1e-9
    )
    assert list(metric(run, "loss")) == [0, 4, 8, 12, 16]


def test_a_second_fit_goes_on(tmp_path: Path) -> None:
    """`fit` again with more epochs appends to the store."""
    store = tmp_path / "run.sqlite"
    training = trainer(tmp_path, GaussProbeCallback(every=4, store=store, **QUICK), epochs=1)
    module = fresh()
    training.fit(module, loader(), loader())
    training.fit_loop.max_epochs = 2
    training.fit(module, loader(), loader())
    assert steps_of(gp.load(store)) == [0, 4, 8]


def test_another_training_is_not_mixed_in(tmp_path: Path) -> None:
    """A new training with the same store is refused, as `watch` refuses it."""
    store = tmp_path / "run.sqlite"
    callback = GaussProbeCallback(every=3, store=store, **QUICK)
    trainer(tmp_path, callback, epochs=1).fit(fresh(), loader(), loader())
    with pytest.raises(StoreError):
        trainer(tmp_path, callback, epochs=1).fit(fresh(), loader(), loader())


class Pair(pl.LightningModule):  # type: ignore[misc,name-defined]
    """Two networks, each with its optimizer, stepped by hand on every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.a, self.b = nn.Linear(64, 8), nn.Linear(64, 8)

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        for network, optimizer in zip((self.a, self.b), self.optimizers(), strict=True):
            loss = network(batch[0].flatten(1)).square().mean()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()

    def configure_optimizers(self) -> Any:
        slow = [{"params": [self.b.weight]}, {"params": [self.b.bias], "lr": 0.01}]
        return [torch.optim.SGD(self.a.parameters(), lr=0.1), torch.optim.SGD(slow, lr=0.02)]


def test_manual_optimization_with_two_optimizers(tmp_path: Path) -> None:
    """A batch is one step though both optimizers step, and each has its learning rate."""
    callback = GaussProbeCallback(every=1, **QUICK)
    training = trainer(tmp_path, callback, epochs=1)
    training.fit(Pair(), loader())
    run, steps = callback.run, range(EXAMPLES // BATCH)
    assert training.global_step == 2 * len(steps)
    assert [(s.step, s.site, s.n_seen) for s in run.scores] == [(n, site, 16) for n in steps for site in "ab"]
    rates = {"learning_rate": 0.1, "learning_rate/optimizer1": 0.02, "learning_rate/optimizer1/group1": 0.01}
    for name, rate in rates.items():
        assert metric(run, name) == dict.fromkeys(steps, rate)
    assert {one.name for one in run.metrics} == set(rates)


def test_options_are_those_of_watch() -> None:
    """An option that `watch` does not have is refused at once, not when training begins."""
    with pytest.raises(TypeError, match="evry"):
        GaussProbeCallback(evry=3)
    with pytest.raises(RuntimeError, match="training has not begun"):
        _ = GaussProbeCallback().run


ONLY_PYTORCH_LIGHTNING = """
import sys
sys.modules["lightning"] = None
import torch
from torch import nn
from torch.utils.data import DataLoader
from gaussprobe.integrations.lightning import GaussProbeCallback
import pytorch_lightning as pl

class Module(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 8)
    def training_step(self, batch, batch_idx):
        return self.layer(batch).square().mean()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

callback = GaussProbeCallback(every=2)
assert isinstance(callback, pl.Callback)
quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
trainer = pl.Trainer(max_epochs=1, accelerator="cpu", callbacks=[callback], **quiet)
trainer.fit(Module(), DataLoader(torch.randn(64, 4), 16))
print([(score.step, score.site, score.n_seen) for score in callback.run.scores])
"""


def test_pytorch_lightning_will_do() -> None:
    """Where only the package `pytorch_lightning` is installed, its `Trainer` takes the callback."""
    needs.package("pytorch_lightning")
    command = [sys.executable, "-c", ONLY_PYTORCH_LIGHTNING]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[(0, 'layer', 16), (2, 'layer', 16)]"


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Lightning tells what devices there are with every trainer."""
    import logging

    logger = logging.getLogger("lightning.pytorch")
    before = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(before)
