"""The loop on a toy method: alternating optimisers, phases, and a stop that leaves no trace."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from napari_ld.errors import ConfigError, StorageError, TrainingError
from src_train import checkpoint
from src_train.checkpoint import RunState, load_checkpoint, read_state, save_checkpoint
from src_train.engine import Trainer, train
from src_train.optimizers import all_parameters, build_optimizer, optimizer_tensors
from src_train.protocol import OptimizerParams
from tests.src_train.toys import ToyBatches, toy_method, toy_trainer


def _everything(trainer: Trainer) -> dict[str, torch.Tensor]:
    parameters = all_parameters(trainer.method)
    tensors = dict(trainer.method.state_dict()) | {f"mean {k}": v for k, v in trainer.averaged.state_dict().items()}
    for name, optimizer in trainer.optimizers.items():
        tensors |= {f"{name} {key}": value for key, value in optimizer_tensors(optimizer, parameters).items()}
    return tensors


def _state() -> RunState:
    return RunState("float32", {}, {})


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("stop", range(1, 7))
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path: Path, stop: int, fresh: bool) -> None:
    straight = toy_trainer(fresh)
    assert train(straight, ToyBatches())
    before = toy_trainer(fresh)
    assert not train(before, ToyBatches(), lambda progress: progress.step == stop)
    save_checkpoint(tmp_path / "last.ckpt", before, _state())
    torch.rand(7)  # whatever else the process drew
    after = toy_trainer(fresh)
    assert load_checkpoint(tmp_path / "last.ckpt", after).step == after.step == stop
    assert train(after, ToyBatches())
    expected, found = _everything(straight), _everything(after)
    assert expected.keys() == found.keys()
    assert [name for name, tensor in expected.items() if not torch.equal(tensor, found[name])] == []
    assert any(name.startswith("critic ") for name in expected)


def test_the_result_keeps_a_share_of_the_start(tmp_path: Path) -> None:
    trainer = Trainer(toy_method(), toy_trainer().schedule, kept=0.25)
    start = {name: value.clone() for name, value in trainer.method.exported.state_dict().items()}
    assert not train(trainer, ToyBatches(), lambda progress: progress.step == 3)
    save_checkpoint(tmp_path / "last.ckpt", trainer, _state())
    resumed = Trainer(toy_method(), trainer.schedule, kept=0.25)
    for value in resumed.start.state_dict().values():
        value.zero_()  # the file that the run was started from may be gone
    load_checkpoint(tmp_path / "last.ckpt", resumed)
    learned = trainer.averaged.state_dict()
    assert not torch.equal(learned["0.weight"], start["0.weight"])
    for which in (trainer, resumed):
        for name, value in which.result.state_dict().items():
            if value.is_floating_point():
                torch.testing.assert_close(value, 0.25 * start[name] + 0.75 * learned[name], msg=name)
    assert all(torch.equal(learned[name], value) for name, value in resumed.averaged.state_dict().items())
    plain = toy_trainer()
    assert plain.result is plain.averaged
    save_checkpoint(tmp_path / "plain.ckpt", plain, _state())
    load_checkpoint(tmp_path / "plain.ckpt", resumed)
    assert resumed.result is resumed.averaged


def test_each_group_trains_its_own_networks_only() -> None:
    trainer = toy_trainer()
    batches = ToyBatches()
    start = {name: value.clone() for name, value in trainer.method.networks["critic"].state_dict().items()}
    for step in range(3):
        assert set(trainer.advance(batches.at(step))) == {"contrast"}
    assert all(torch.equal(start[k], v) for k, v in trainer.method.networks["critic"].state_dict().items())
    terms = trainer.advance(batches.at(3))
    assert set(terms) == {"contrast", "restore", "fool", "tell"}
    assert not all(torch.equal(start[k], v) for k, v in trainer.method.networks["critic"].state_dict().items())
    (late, critics) = trainer.method.phases[1].groups
    trained = [{id(p) for g in trainer.optimizer(group).param_groups for p in g["params"]} for group in (late, critics)]
    assert trained[0].isdisjoint(trained[1])
    assert trained[0] == {id(p) for n in ("encoder", "restorer") for p in trainer.method.networks[n].parameters()}


def test_a_loss_or_gradient_that_is_not_finite_leaves_the_weights_as_they_were() -> None:
    trainer, batches = toy_trainer(), ToyBatches()
    trainer.advance(batches.at(0))
    weights = {name: p.clone() for name, p in all_parameters(trainer.method).items()}
    bad = batches.at(1)
    bad.first[0, 0, 0, 0] = float("inf")
    with pytest.raises(TrainingError, match=r"step 1: the loss is not finite \(terms: contrast\)"):
        trainer.advance(bad)
    assert all(torch.equal(weights[name], p) for name, p in all_parameters(trainer.method).items())
    hook = trainer.method.encoder[0].weight.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(TrainingError, match="step 1: the gradient is not finite"):
        trainer.advance(batches.at(1))
    hook.remove()
    assert all(torch.equal(weights[name], p) for name, p in all_parameters(trainer.method).items())


def test_a_checkpoint_that_cannot_be_read_or_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.ckpt"
    with pytest.raises(ConfigError, match="not a readable checkpoint"):
        read_state(path)
    path.write_bytes(b"\x00" * 40)
    with pytest.raises(ConfigError, match="not a readable checkpoint"):
        read_state(path)
    save_checkpoint(path, toy_trainer(), _state())
    other = Trainer(toy_method(), toy_trainer().schedule)
    other.method.networks["critic"] = torch.nn.Linear(2, 2)
    with pytest.raises(ConfigError, match=r"does not fit this configuration.*cannot change"):
        load_checkpoint(path, other)
    monkeypatch.setattr(checkpoint, "FORMAT_VERSION", 0)
    with pytest.raises(ConfigError, match="written by a newer version"):
        read_state(path)


def test_a_full_disk_keeps_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.ckpt"
    trainer = toy_trainer()
    save_checkpoint(path, trainer, _state())
    trainer.advance(ToyBatches().at(0))

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="free some space"):
        save_checkpoint(path, trainer, _state())
    monkeypatch.undo()
    assert read_state(path).step == 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.ckpt"]


def test_unknown_optimizers_are_named() -> None:
    with pytest.raises(ConfigError, match=r"unknown optimizer 'magic'.*adamw, adam, sgd"):
        build_optimizer({}, OptimizerParams("magic"))
