"""A pretraining stage that is interrupted goes on as if it had not been."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ccvd_cli.errors import UsageError
from ccvd_cli.world import models
from ccvd_cli.world.training import Average, Stretch, autocast


def start(folder: Path) -> tuple[Stretch, nn.Module]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.Linear(7, 2))
    groups = [{"params": list(model.parameters()), "lr": 1e-2, "base_lr": 1e-2}]
    return Stretch(folder, "toy", {"net": model}, groups, minutes=1, decay=0.9), model


def train(run: Stretch, model: nn.Module, steps: range) -> None:
    for step in steps:
        x = torch.randn(8, 5, generator=torch.Generator().manual_seed(step))
        run.update({"loss": model(x).square().mean()}, lr_scale=1 / (1 + step))


def everything(run: Stretch, model: nn.Module) -> dict[str, Tensor]:
    """Weights, their averages and the optimiser's moments."""
    states = run.optimizer.state_dict()["state"]
    return {
        **{f"model/{k}": v for k, v in model.state_dict().items()},
        **{f"average/{k}": v for k, v in run.averages["net"].state().items()},
        **{f"{i}/{k}": v for i, state in states.items() for k, v in state.items()},
    }


def test_a_resumed_run_is_bit_identical(tmp_path: Path) -> None:
    straight, model = start(tmp_path / "straight")
    train(straight, model, range(7))
    wanted = everything(straight, model)

    first, model = start(tmp_path / "stretches")
    train(first, model, range(4))
    first.save()
    again, model = start(tmp_path / "stretches")
    assert again.step == 4
    assert all(
        torch.equal(v, everything(first, first.modules["net"])[k])
        for k, v in everything(again, model).items()
    )
    train(again, model, range(4, 7))
    found = everything(again, model)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[k], wanted[k]) for k in wanted)


def test_an_interrupted_run_keeps_what_it_learned_and_a_failed_one_does_not(tmp_path: Path) -> None:
    for error, kept in ((KeyboardInterrupt, 3), (RuntimeError, 3)):
        run, model = start(tmp_path)
        with pytest.raises(error), run:
            train(run, model, range(run.step, run.step + 3))
            raise error
        assert start(tmp_path)[0].step == kept


def test_checkpoints_are_whole_and_the_log_is_json(tmp_path: Path) -> None:
    run, model = start(tmp_path)
    train(run, model, range(2))
    run.save()
    run.log({"loss": 0.5})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.jsonl", "toy.state.safetensors"]
    line = json.loads((tmp_path / "log.jsonl").read_text())
    assert line["stage"] == "toy" and line["step"] == 2 and line["loss"] == 0.5


def test_the_average_starts_short_and_is_adopted(tmp_path: Path) -> None:
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(0.0)
    average = Average(model, decay=0.9)
    model.weight.data.fill_(1.0)
    average.update()  # decay (1 + 1) / (10 + 1)
    assert torch.allclose(average.state()["weight"], torch.tensor(1 - 2 / 11))
    run, module = start(tmp_path)
    train(run, module, range(3))
    kept = {k: v.clone() for k, v in run.averages["net"].state().items()}
    run.adopt_averages()
    assert all(torch.equal(module.state_dict()[k], v) for k, v in kept.items())


def test_a_folders_tokenizer_is_trained_once(tmp_path: Path) -> None:
    """Trained again it would give other ids to words, and embeddings belong to ids."""
    prompts = ["a red dog jumping on the beach", "a <V1> qxz of p"]
    first = models.tokenizer(tmp_path)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    again = models.tokenizer(tmp_path)
    assert again(prompts).input_ids == first(prompts).input_ids and again.get_vocab() == first.get_vocab()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files


@pytest.mark.parametrize("unit", ["amx_bf16", "avx512_bf16", "avx2"])
def test_a_cpu_that_emulates_bf16_computes_in_float32(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {unit: True}, raising=False)
    x = torch.ones(2, 2)
    with autocast(torch.device("cpu")):
        assert (x @ x).dtype == (torch.float32 if unit == "avx2" else torch.bfloat16)


def test_a_checkpoint_of_other_parts_is_refused(tmp_path: Path) -> None:
    run, model = start(tmp_path)
    train(run, model, range(2))
    run.save()
    parts = {"net": model, "more": nn.Linear(1, 1)}
    groups = [{"params": [p for m in parts.values() for p in m.parameters()], "lr": 1e-2, "base_lr": 1e-2}]
    with pytest.raises(UsageError, match="it differs in more"):
        Stretch(tmp_path, "toy", parts, groups, minutes=1)
