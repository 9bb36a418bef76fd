"""One of two processes of ``test_distributed``: first terms and gradients, two steps, and runs whose memory is full."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from src_train.batches import Batches
from src_train.checkpoint import RunState, save_checkpoint
from src_train.distributed import World, add_gradients, process_group
from src_train.engine import Trainer, train
from src_train.optimizers import all_parameters
from tests.src_train.shared_run import contrast_parts, group_norm_parts

Parts = Callable[[Path, World], tuple[Trainer, Batches]]


def first_gradients(images: Path, world: World, parts: Parts = group_norm_parts) -> dict[str, torch.Tensor]:
    """Weighted terms and summed gradients of step 0."""
    trainer, batches = parts(images, world)
    (group,) = trainer.method.phases[-1].groups
    terms = trainer.method.terms(trainer.method.context(batches.at(0), seed=3, world=world), group)
    torch.stack(list(terms.values())).sum().backward()
    parameters = all_parameters(trainer.method)
    add_gradients(parameters.values(), world)
    gradients = {f"gradient/{name}": p.grad for name, p in parameters.items() if p.grad is not None}
    return gradients | {f"term/{name}": value.detach() for name, value in terms.items()}


def contrast_state(images: Path, world: World) -> dict[str, torch.Tensor]:
    """Terms and gradients of step 0, and both queues after two steps, of DenseCL with super-pixels."""
    found = first_gradients(images, world, contrast_parts)
    trainer, batches = contrast_parts(images, world)
    train(trainer, batches, lambda progress: progress.step == 2)
    state = trainer.method.state_dict()
    return found | {f"queue/{name}": state[f"networks.{name}.keys"] for name in ("queue", "dense_queue")}


def full_once(trainer: Trainer, place: str, step: int) -> None:
    """Have memory be full once in a step, behind its "terms" or while the weights are changed."""
    owner: Any = trainer.method if place == "terms" else torch.optim.AdamW
    name = "terms" if place == "terms" else "step"
    before = getattr(owner, name)

    def full(*arguments: Any) -> Any:
        given = before(*arguments)
        if trainer.step == step:
            setattr(owner, name, before)
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return given

    setattr(owner, name, full)


def with_full_memory(images: Path, world: World, place: str, rank: int) -> tuple[Trainer, dict[str, Any]]:
    """All four steps, the second of which does not fit into the memory of one process; and what became of it."""
    trainer, batches = group_norm_parts(images, world)
    if world.rank == rank:
        full_once(trainer, place, 1)
    told: list[tuple[int, ...]] = []
    try:
        train(trainer, batches, None, lambda before, now: told.append((trainer.step, before, now)))
    except (MemoryError, RuntimeError) as error:
        return trainer, {"told": told, "error": str(error)}
    return trainer, {"told": told, "error": ""}


def main(images: Path, out: Path) -> None:
    """Run one process."""
    torch.set_num_threads(1)
    with process_group(torch.device("cpu")) as world:
        found = first_gradients(images, world)
        save_file({k: v.contiguous() for k, v in found.items()}, out / f"first-{world.rank}.safetensors")
        found = contrast_state(images, world)
        save_file({k: v.contiguous() for k, v in found.items()}, out / f"contrast-{world.rank}.safetensors")
        for place in ("terms", "change"):
            trainer, ended = with_full_memory(images, world, place, rank=1)
            (out / f"{place}-{world.rank}.json").write_text(json.dumps(ended))
            weights = {name: value.contiguous() for name, value in trainer.averaged.state_dict().items()}
            save_file(weights, out / f"{place}-{world.rank}.safetensors")
        trainer, batches = group_norm_parts(images, world)
        train(trainer, batches, lambda progress: progress.step == 2)
        if world.rank == 0:
            save_checkpoint(out / "last.ckpt", trainer, RunState("float32", {}, {}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
