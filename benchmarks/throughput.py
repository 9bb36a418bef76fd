"""Images per second of our training step beside a plain loop, interleaved in one run.

    python -m benchmarks.throughput --data DIR --output benchmarks/results/throughput.json

Blocks of steps alternate, so that another load on the machine meets both alike. The plain loop decodes with PIL in as
many worker processes as there are cores, makes its views on the CPU and runs float32, eager; ours takes decoded images
from memory and makes a batch in a thread. FLOPs are those of convolutions and matrix products, forward and backward,
counted by torch; the peak is that of a large matrix product measured in the precision that our step runs in.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.machine import write_results
from benchmarks.plain_training import PictureViews, PlainTraining, plain_batches
from napari_ld.model.encoder import EncoderConfig, build_encoder
from src_train.config import TrainConfig, load_config, method_tables
from src_train.distributed import World
from src_train.memory import keep_freed_memory
from src_train.methods import build_method
from src_train.protocol import Batch, Method
from src_train.run import assemble, set_threads, training_device

_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff"}
_UNTIMED = 2


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of images that PIL reads")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--steps", type=int, default=8, help="timed steps of each block")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--note", default="", help="for the result, for instance that the machine was busy")
    parser.add_argument("--output", type=Path, default=None)
    options = parser.parse_args(arguments)
    set_threads(options.threads)
    keep_freed_memory()
    result = measure(options)
    for name, value in result.items():
        print(f"{name:34} {value}")
    if options.output is not None:
        write_results(options.output, {"note": options.note, **result})
    return 0


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Both loops by turns, block by block."""
    config = load_config("standard", settings=[*options.set, "schedule.first_phase=0.0"], data=(str(options.data),))
    device = training_device(options.device)
    parts, state = assemble(config, device, World(), None, quiet=True)
    trainer, images = parts.trainer, 2 * config.schedule.couples
    plain = PlainTraining(_same_method(config, parts.trainer.averaged.config), copy.deepcopy(trainer.averaged), device)
    files = sorted(path for path in options.data.iterdir() if path.suffix.lower() in _SUFFIXES)
    steps = _UNTIMED + options.steps
    scale = parts.normalization.mean, parts.normalization.std
    seconds: dict[str, list[float]] = {"plain": [], "ours": []}
    waits: dict[str, list[float]] = {"plain": [], "ours": []}
    for block in range(options.blocks):
        for name in ("plain", "ours") if block % 2 == 0 else ("ours", "plain"):
            if name == "plain":
                views = PictureViews(files, config.views, steps * images)
                batches: Iterator[Any] = plain_batches(views, images, os.cpu_count() or 1, *scale)
            else:
                batches = parts.batches.ahead(trainer.step, trainer.step + steps)
            advance = plain.advance if name == "plain" else trainer.advance
            taken, waited = _timed(batches, advance, device)
            seconds[name] += taken
            waits[name] += waited
    flops = _flops(trainer.method, parts.batches.at(0))
    peak = matmul_peak(device, torch.bfloat16 if state.precision == "bfloat16" else torch.float32)
    rate = {name: images / statistics.median(values) for name, values in seconds.items()}
    return {
        "device": str(device),
        "threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "precision": state.precision,
        "images_a_step": images,
        "images_per_second": {name: round(value, 3) for name, value in rate.items()},
        "ratio": round(rate["ours"] / rate["plain"], 3),
        "share_waiting_for_data": {name: round(sum(waits[name]) / sum(seconds[name]), 4) for name in seconds},
        "gflop_per_step": round(flops / 1e9, 2),
        "gflops_of_matmul_peak": round(peak / 1e9, 1),
        "share_of_peak": round(flops / statistics.median(seconds["ours"]) / peak, 3),
        "step_seconds": {name: [round(value, 3) for value in values] for name, values in seconds.items()},
    }


def _same_method(config: TrainConfig, encoder_config: EncoderConfig) -> Method:
    encoder = build_encoder(encoder_config, config.seed)
    return build_method(config.method, encoder, config.schedule, method_tables(config))


def _timed(
    batches: Iterator[Any], advance: Callable[[Any], object], device: torch.device
) -> tuple[list[float], list[float]]:
    """Seconds of each step and of its wait, without the first ones."""
    taken: list[float] = []
    waited: list[float] = []
    while True:
        began = _now(device)
        batch = next(batches, None)
        if batch is None:
            return taken[_UNTIMED:], waited[_UNTIMED:]
        waited.append(_now(device) - began)
        advance(batch)
        taken.append(_now(device) - began)


def _flops(method: Method, batch: Batch) -> float:
    """Of one step of the last phase, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        terms = method.terms(method.context(batch), method.phases[-1].groups[0])
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    method.zero_grad()
    return float(counter.get_total_flops())


def matmul_peak(device: torch.device, dtype: torch.dtype, size: int = 2048) -> float:
    """Floating-point operations per second of the fastest of a few large matrix products."""
    side = size * (4 if device.type == "cuda" else 1)
    first, second = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(5):
        began = _now(device)
        torch.mm(first, second)
        best = min(best, _now(device) - began)
    return 2 * side**3 / best


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


if __name__ == "__main__":
    sys.exit(main())
