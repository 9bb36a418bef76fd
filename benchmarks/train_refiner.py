"""Train the learnt refiner, and those that its evaluation needs: without a set, and without kinds of damage.

    python -m benchmarks.train_refiner cases --out FOLDER       # labels made worse, and what is seen around them
    python -m benchmarks.train_refiner all --out FOLDER         # what ships and all folds; goes on where it stopped
    python -m benchmarks.train_refiner full-all --out FOLDER   # one of them

Settings stand in ``refiner.toml``. Of each fold the network is named ``SETS-KINDS``: ``full`` or ``nofundus``, then the
fold of kinds that was left out, ``all`` for none. The data are found through NAPARI_LD_DATA.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.folds import data_root
from benchmarks.refiner_cases import RefinerCase, cases_of
from napari_ld.model.checkpoint import ModelHeader, save_model
from napari_ld.model.refiner_head import RefinerHead
from napari_ld.model.zoo import load_encoder
from napari_ld.refinement.evidence import MAPS
from src_train.run import set_threads

SETTINGS_FILE = Path(__file__).with_name("refiner.toml")
_NEAR = -3.0  # depths outside of a label, beyond which nothing is learned
_LICENCE = "research use only: learned on features of ld-general, and from sets under CC BY and CC BY-NC; see the card"


def fold_of(settings: dict[str, Any], name: str, kind: str = "") -> str:
    """The network that never saw a set of the report; or, if a kind of damage is given, never saw that kind.

    It may then have seen other images of the set.
    """
    for fold, kinds in settings["kind_folds"].items():
        if kind in kinds:
            return f"full-{fold}"
    return "nofundus-all" if name in settings["without"] else "full-all"


def folds(settings: dict[str, Any]) -> list[str]:
    """All networks, the one that ships first."""
    return ["full-all", "nofundus-all", *(f"full-{kinds}" for kinds in settings["kind_folds"])]


def write_cases(settings: dict[str, Any], folder: Path) -> None:
    """Write the cases of all sets that are not there yet."""
    model = load_encoder()
    for name in settings["sets"]:
        path = folder / f"{name}.npz"
        if path.is_file():
            continue
        found = list(cases_of(settings, data_root(), name, model))
        arrays = {f"{n:05} {case.kind}": case.stacked for n, case in enumerate(found)}
        np.savez_compressed(path, **arrays)  # type: ignore[arg-type]  # its stubs take any keyword for an option
        print(f"{name}: {len(found)} labels", flush=True)


def read_cases(settings: dict[str, Any], folder: Path, fold: str) -> list[RefinerCase]:
    """Cases that a network may see."""
    sets, kinds = fold.split("-")
    hidden_sets = {one for given in settings["without"].values() for one in given} if sets == "nofundus" else set()
    hidden_kinds = settings["kind_folds"].get(kinds, [])
    found = []
    for name in settings["sets"]:
        if name not in hidden_sets:
            with np.load(folder / f"{name}.npz") as file:
                found += [RefinerCase.of(name, key.split(" ", 1)[1], file[key]) for key in file.files]
    return [case for case in found if case.kind not in hidden_kinds]


def train(cases: Sequence[RefinerCase], given: dict[str, Any], seed: int) -> RefinerHead:
    """Train one network; every set is drawn equally often."""
    random = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = RefinerHead(len(MAPS)).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=given["rate"], weight_decay=1e-2)
    by_set: dict[str, list[RefinerCase]] = {}
    for case in cases:
        by_set.setdefault(case.set, []).append(case)
    pools, losses = list(by_set.values()), []
    for step in range(given["steps"]):
        course = min(1.0, (step + 1) / given["warmup"]) * 0.5 * (1 + np.cos(np.pi * step / given["steps"]))
        for group in optimizer.param_groups:
            group["lr"] = given["rate"] * course
        chosen = [pools[int(k)] for k in random.integers(len(pools), size=given["batch"])]
        drawn = [_window(pool[int(random.integers(len(pool)))], given["window"], random) for pool in chosen]
        loss = _loss(network, torch.from_numpy(np.stack(drawn)), given["overlap"])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types for it
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if step % 100 == 99:
            print(f"  step {step + 1}: loss {np.mean(losses[-100:]):.3f}", flush=True)
    return network.eval()


def _window(case: RefinerCase, side: int, random: np.random.Generator) -> npt.NDArray[np.float32]:
    """Part of a case around its boundary, turned and mirrored: maps, lead, truth, and where there is anything."""
    whole = case.stacked.astype(np.float32)
    height, width = whole.shape[1:]
    if max(height, width) > side:
        near = np.argwhere(abs(whole[0]) < 0.7)
        row, column = near[random.integers(len(near))] if len(near) else (height // 2, width // 2)
        top, left = (int(np.clip(at - side // 2, 0, max(0, n - side))) for at, n in ((row, height), (column, width)))
        whole = whole[:, top : top + side, left : left + side]
    found = np.zeros((len(whole) + 1, side, side), np.float32)
    found[:-1, : whole.shape[1], : whole.shape[2]] = whole
    found[-1, : whole.shape[1], : whole.shape[2]] = 1
    turned = np.rot90(found, int(random.integers(4)), (1, 2))
    return np.ascontiguousarray(turned[:, :, ::-1] if random.random() < 0.5 else turned)


def _loss(network: RefinerHead, batch: Tensor, overlap: float) -> Tensor:
    """Cross-entropy and soft Dice of a batch ``(B, 12, side, side)``, near the labels only."""
    maps = batch[:, : len(MAPS)]
    lead, truth, there = (batch[:, place : place + 1] for place in range(len(MAPS), len(MAPS) + 3))
    counted = there * (maps[:, :1] > _NEAR)
    odds = lead / 2 + network(maps)
    entropy = F.binary_cross_entropy_with_logits(odds, truth, reduction="none") * counted
    share, right = torch.sigmoid(odds) * counted, truth * counted
    both, sizes = (share * right).sum((1, 2, 3)), share.sum((1, 2, 3)) + right.sum((1, 2, 3))
    dice = (2 * both + 1) / (sizes + 1)
    per_label = entropy.sum((1, 2, 3)) / counted.sum((1, 2, 3)).clamp(min=1)
    total: Tensor = per_label.mean() + overlap * (1 - dice).mean()
    return total


def main(arguments: Sequence[str]) -> int:
    """Train what is asked for and is not there yet."""
    settings = tomllib.loads(SETTINGS_FILE.read_text())
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("which", choices=["cases", "all", *folds(settings)])
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    set_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    write_cases(settings, options.out)
    wanted = {"cases": [], "all": folds(settings)}.get(options.which, [options.which])
    encoder = load_encoder()
    for fold in wanted:
        path = options.out / f"{fold}.safetensors"
        if path.is_file():
            continue
        cases = read_cases(settings, options.out, fold)
        print(f"{fold}: {len(cases)} labels", flush=True)
        network = train(cases, settings["training"], settings["seed"])
        training = {"method": "learnt refiner", "steps": settings["training"]["steps"], "labels": len(cases)}
        name = "learnt-refiner" if fold == "full-all" else f"learnt-refiner-{fold}"
        header = ModelHeader("refiner", name, encoder.header.config, training=training, licence=_LICENCE)
        save_model(path, network, header)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
