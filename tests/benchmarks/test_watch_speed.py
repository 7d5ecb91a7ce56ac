"""What following a training run costs: steps of a training loop with a watch against the same without."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from pytest_benchmark.fixture import BenchmarkFixture
from torch import nn

import gaussprobe as gp
from tests.benchmarks.conftest import Page, ratio

Step = Callable[[], torch.Tensor]

ABOUT = (
    "Ten training steps with a watch that writes to a file, against ten without, in turn; hooks are put on\n"
    "and taken off as in use. `sizes only`: `tests=(), intervals=False`. With the default `every=50` what a\n"
    "record costs is spread over five times as many steps as with 10."
)


def convolutional(widths: tuple[int, ...] = (32, 32, 64, 64, 128, 128, 256, 256)) -> nn.Module:
    """Eight times convolution, BatchNorm, ReLU, and a linear layer: 25 sites."""
    layers: list[nn.Module] = []
    for before, width in zip((3, *widths), widths, strict=False):
        stride = 2 if before not in (3, width) else 1
        layers += [nn.Conv2d(before, width, 3, stride, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 10))


class Block(nn.Module):
    """A pre-norm transformer block with its projections as layers: 7 sites."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.act, self.down = nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, d))
        return x + self.down(self.act(self.up(self.norm2(x))))


class Transformer(nn.Module):
    """Four blocks, an embedding of patches and a head: 30 sites."""

    def __init__(self, width: int = 192) -> None:
        super().__init__()
        self.patches = nn.Linear(48, width)
        self.blocks = nn.Sequential(*(Block(width, 6) for _ in range(4)))
        self.head = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.patches(x)).mean(1))


def loop(model: nn.Module, x: torch.Tensor) -> Step:
    """A training step on one batch."""
    target = torch.randint(10, (len(x),))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def step() -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), target)
        loss.backward()
        optimizer.step()
        return loss

    return step


WIDE = (64, 64, 128, 128, 256, 256, 512, 512)
CASES = {
    "CNN of widths 32 to 256, batch 64": (convolutional, (64, 3, 32, 32), 25),
    "CNN of widths 64 to 512, batch 64": (lambda: convolutional(WIDE), (64, 3, 32, 32), 25),
    "transformer, batch 64": (Transformer, (64, 64, 48), 30),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("every", "full"), [(10, True), (1, False)])
def test_watch(
    benchmark: BenchmarkFixture, page: Page, tmp_path: Path, name: str, every: int, full: bool
) -> None:
    """Steps with `every` and defaults, and with every step and effect sizes only."""
    make, shape, sites = CASES[name]
    model, steps = make().train(), 10
    step = loop(model, torch.randn(shape))
    options = {} if full else {"tests": (), "intervals": False}
    benchmark.pedantic(lambda: None, rounds=1)
    with gp.watch(model, every=every, store=tmp_path / "run.sqlite", **options) as probe:
        probe._disarm()

        def bare() -> None:
            for _ in range(steps):
                step()

        def watched() -> None:
            probe._arm()
            for _ in range(steps):
                probe.step(loss=step())
            probe._disarm()

        watched()
        found = ratio(bare, watched, 5)
        assert probe.last is not None
        assert len(probe.last.scores) == sites
    page.add(
        "Watch",
        ABOUT,
        ("model", "recorded", "times the bare steps (quartiles)", "one bare step", "sites"),
        name,
        f"every {every} steps, all" if full else "every step, sizes only",
        str(found),
        f"{found.ours / steps * 1e3:.3g} ms",
        str(sites),
    )


def test_long_run(benchmark: BenchmarkFixture, page: Page, tmp_path: Path) -> None:
    """Resident memory and the file over 5,000 recorded steps, in a process of its own."""
    script = textwrap.dedent(
        f"""
        import pathlib, torch
        from torch import nn
        import gaussprobe as gp
        def resident():
            text = pathlib.Path("/proc/self/status").read_text()
            return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS")) * 1024
        path = pathlib.Path({str(tmp_path / "run.sqlite")!r})
        layers = [m for _ in range(4) for m in (nn.Linear(24, 24), nn.LayerNorm(24), nn.ReLU())]
        model = nn.Sequential(*layers)
        with gp.watch(model, every=1, store=path, tests=(), intervals=False) as probe:
            for step in range(5_000):
                model(torch.randn(64, 24)).sum().backward()
                probe.step(loss=1.0 / (1 + step))
                if step == 250:
                    before = resident()
            after = resident()
        print(after - before, path.stat().st_size / (5_000 * 12))
        """
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    growth, per_record = map(float, done.stdout.split())
    assert len(gp.load(tmp_path / "run.sqlite").series) == 5_000 * 12
    benchmark.pedantic(lambda: None, rounds=1)
    page.add(
        "A long watch",
        "5,000 steps, all recorded into a file, effect sizes only, 12 sites.",
        ("resident memory, step 250 to the end", "file, for each step and site"),
        f"{growth / 2**20:+.1f} MB",
        f"{per_record:,.0f} bytes",
    )
