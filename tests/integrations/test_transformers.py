"""Transformers' `Trainer.train` with the callback, on tiny networks with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import gaussprobe as gp
from gaussprobe.types import Run
from tests import needs

transformers = needs.package("transformers")
needs.package("accelerate")

from gaussprobe.integrations.transformers import GaussProbeCallback  # noqa: E402  (imports Transformers)

EXAMPLES, TOKENS, BATCH, RATE = 48, 12, 8, 0.01
QUICK: dict[str, Any] = {"tests": (), "intervals": False}


@pytest.fixture(autouse=True)
def _nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """No hub, no telemetry."""
    for name in ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
        monkeypatch.setenv(name, "1")


def bert() -> Any:
    """A classifier of two layers, its weights always the same."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    config = transformers.BertConfig(vocab_size=64, max_position_embeddings=16, **sizes)
    return transformers.BertForSequenceClassification(config)


def gpt2() -> Any:
    """A language model of one layer, its weights always the same."""
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=64, n_positions=16, n_embd=16, n_layer=1, n_head=2)
    return transformers.GPT2LMHeadModel(config)


def data(*, language: bool = False) -> list[dict[str, torch.Tensor]]:
    """Random tokens without padding, to be classified or foretold."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, 64, (EXAMPLES, TOKENS), generator=generator)
    labels = tokens if language else torch.arange(EXAMPLES) % 2
    return [{"input_ids": x, "labels": y} for x, y in zip(tokens, labels, strict=True)]


def trainer(folder: Path, model: Any, callback: Any, *, language: bool = False, **options: Any) -> Any:
    """A trainer on the CPU that reports to nobody."""
    settings = {"num_train_epochs": 1, "save_strategy": "no", "logging_steps": 1} | options
    arguments = transformers.TrainingArguments(
        **{"output_dir": str(folder), "per_device_train_batch_size": BATCH, "learning_rate": RATE},
        **{"report_to": "none", "disable_tqdm": True, "use_cpu": True, "dataloader_pin_memory": False},
        **settings,
    )
    known = data(language=language)
    return transformers.Trainer(
        model, arguments, train_dataset=known, eval_dataset=known[:16], callbacks=[callback]
    )


def metric(run: Run, name: str) -> dict[int, float]:
    """Values of a metric by step."""
    return {one.step: one.value for one in run.metrics if one.name == name}


def steps_of(run: Run) -> list[int]:
    """The recorded steps."""
    return sorted({score.step for score in run.scores})


def logged(training: Any, name: str) -> dict[int, float]:
    """What `Trainer` logged, by the step it had just made; its own steps are counted from 1."""
    return {entry["step"] - 1: entry[name] for entry in training.state.log_history if name in entry}


def test_train(tmp_path: Path) -> None:
    """Every other optimizer step is a record of both its batches and no evaluation, with its metrics."""
    with GaussProbeCallback(every=2) as callback:
        training = trainer(
            tmp_path,
            bert(),
            callback,
            num_train_epochs=3,
            gradient_accumulation_steps=2,
            eval_strategy="epoch",
        )
        training.train()
    run, steps = callback.run, [0, 2, 4, 6, 8]
    assert training.state.global_step == 9
    assert steps_of(run) == steps
    sites = [score for score in run.scores if score.site == "bert.encoder.layer.1.output.dense"]
    assert [score.n_seen for score in sites] == [2 * BATCH * TOKENS] * 5
    heads = [score for score in run.scores if score.site == "classifier"]
    assert [score.n_seen for score in heads] == [2 * BATCH] * 5
    for name in ("loss", "grad_norm", "learning_rate"):
        values = logged(training, name)
        assert len(values) == 9
        assert metric(run, name) == {step: values[step] for step in steps}
    # evaluations after steps 2, 5 and 8, each with the record of its step or the next
    values = logged(training, "eval_loss")
    assert metric(run, "eval_loss") == {2: values[2], 6: values[5], 8: values[8]}
    assert {one.name for one in run.metrics} == {"loss", "grad_norm", "learning_rate", "eval_loss"}


def test_each_value_is_of_one_record(tmp_path: Path) -> None:
    """A loss that is logged less often than records are made is not repeated."""
    with GaussProbeCallback(every=1, **QUICK) as callback:
        training = trainer(tmp_path, bert(), callback, logging_steps=3)
        training.train()
    assert metric(callback.run, "loss") == logged(training, "loss")
    assert list(logged(training, "loss")) == [2, 5]
    assert list(metric(callback.run, "learning_rate")) == list(range(6))


def test_training_is_what_it_was_without(tmp_path: Path) -> None:
    """Weights are bit for bit those of a training without the callback."""
    watched, plain = gpt2(), gpt2()
    with GaussProbeCallback(every=2) as callback:
        trainer(tmp_path, watched, callback, language=True).train()
    trainer(tmp_path, plain, transformers.TrainerCallback(), language=True).train()
    assert steps_of(callback.run) == [0, 2, 4]
    assert "transformer.h.0.mlp.c_fc:addmm" in {score.site for score in callback.run.scores}
    for a, b in zip(watched.state_dict().values(), plain.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_resumed_from_a_checkpoint(tmp_path: Path) -> None:
    """Training that goes on from a checkpoint appends to the store, and steps go on with those of Trainer."""
    store = tmp_path / "run.sqlite"
    options = {"save_strategy": "epoch", "lr_scheduler_type": "constant"}
    with GaussProbeCallback(every=4, store=store, **QUICK) as callback:
        trainer(tmp_path, gpt2(), callback, language=True, **options).train()
    assert steps_of(gp.load(store)) == [0, 4]
    with GaussProbeCallback(every=4, store=store, **QUICK) as callback:
        training = trainer(tmp_path, gpt2(), callback, language=True, num_train_epochs=3, **options)
        training.train(resume_from_checkpoint=True)
    run = gp.load(store)
    assert training.state.global_step == 18
    assert steps_of(run) == [0, 4, 8, 12, 16]
    assert metric(run, "loss") == {step: logged(training, "loss")[step] for step in steps_of(run)}


class Breaks(transformers.TrainerCallback):  # type: ignore[misc,name-defined]
    """Fails in the fourth step."""

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        if state.global_step == 4:
            raise RuntimeError("out of luck")


def test_an_exception_closes_the_watch(tmp_path: Path) -> None:
    """Where training fails within `with`, hooks go, and the records until then are in the store."""
    store, model = tmp_path / "run.sqlite", gpt2()
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    callback = GaussProbeCallback(every=2, store=store, **QUICK)
    training = trainer(tmp_path, model, callback, language=True)
    training.add_callback(Breaks())
    with pytest.raises(RuntimeError, match="out of luck"), callback:
        training.train()
    assert sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()) == hooks
    assert steps_of(gp.load(store)) == [0, 2]


def test_options_are_those_of_watch() -> None:
    """An option that `watch` does not have is refused at once, not when training begins."""
    with pytest.raises(TypeError, match="evry"):
        GaussProbeCallback(evry=3)
    with pytest.raises(RuntimeError, match="training has not begun"):
        _ = GaussProbeCallback().run
