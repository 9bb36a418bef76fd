"""One of two processes of ``test_distributed``: first terms and gradients of the shared batch, then two steps."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

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


def main(images: Path, out: Path) -> None:
    """Run one process."""
    torch.set_num_threads(1)
    with process_group(torch.device("cpu")) as world:
        found = first_gradients(images, world)
        save_file({k: v.contiguous() for k, v in found.items()}, out / f"first-{world.rank}.safetensors")
        found = contrast_state(images, world)
        save_file({k: v.contiguous() for k, v in found.items()}, out / f"contrast-{world.rank}.safetensors")
        trainer, batches = group_norm_parts(images, world)
        train(trainer, batches, lambda progress: progress.step == 2)
        if world.rank == 0:
            save_checkpoint(out / "last.ckpt", trainer, RunState("float32", {}, {}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
