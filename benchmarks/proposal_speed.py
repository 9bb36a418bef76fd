"""How long it takes to propose regions of a plane, and to cut it anew, beside SLIC.

``python -m benchmarks.proposal_speed [--images 4] [--rounds 5] [--output FILE]``; settings stand in ``proposals.toml``.
Planes are brought to 512 x 512 pixels and embedded beforehand. SLIC and ours take turns, so that the machine's load
counts for both; times are those of the processor, of this process with all its threads. The median over rounds and
planes is given, and the median of the ratios of both.
"""

from __future__ import annotations

import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from skimage import segmentation as _segmentation

from benchmarks.annotator import as_bytes
from benchmarks.folds import data_root
from benchmarks.labelled import labelled_planes, parser
from benchmarks.machine import write_part
from benchmarks.proposals import SETTINGS_FILE
from napari_ld._types import Image
from napari_ld.embedding import FeatureSource
from napari_ld.model.zoo import load_encoder
from napari_ld.proposals import HierarchyParams
from napari_ld.proposals.evidence import plane_evidence
from napari_ld.proposals.hierarchy import regions_of_cut, tree_of

segmentation: Any = _segmentation  # scikit-image annotates only some of its functions
SIDE = 512  # pixels


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Processor time of some work, and what it gives."""
    start = time.process_time()
    found = work()
    return time.process_time() - start, found


def times_of(source: FeatureSource, count: int, others: Sequence[int]) -> dict[str, float]:
    """Seconds of proposing ``count`` regions of the first plane, of each of some other cuts, and of SLIC."""
    evidence = plane_evidence(source, 0)
    picture = np.moveaxis(evidence.channels, 0, -1)
    colour = np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture
    slic, _ = seconds(lambda: segmentation.slic(colour, count))

    def propose() -> Any:
        fresh = plane_evidence(source, 0)
        tree = tree_of(fresh, HierarchyParams())
        regions_of_cut(source, fresh, tree, count)
        return tree

    ours, tree = seconds(propose)
    cuts = [seconds(partial(regions_of_cut, source, evidence, tree, other))[0] for other in others]
    return {"slic": slic, "propose": ours, "cut anew": float(np.median(cuts)), "propose / slic": ours / slic}


def run(settings: dict[str, Any], given: Any) -> list[dict[str, Any]]:
    """A row per set."""
    model, rows = load_encoder(), []
    first, *others = settings["counts"]
    for name in given.sets:
        found: dict[str, list[float]] = {}
        for _, image, _ in labelled_planes(data_root(), name, settings["sets"][name], given.split, given.images):
            pixels = as_bytes(image.plane(0), SIDE)
            source = FeatureSource(Image(pixels, "yxc" if pixels.ndim == 3 else "yx"), model)
            source.plane(0)
            for _ in range(given.rounds):
                for key, value in times_of(source, first, others).items():
                    found.setdefault(key, []).append(value)
        row: dict[str, Any] = {"set": name, "side": SIDE, "regions": first, "times": len(found["slic"])}
        row |= {key: round(float(np.median(values)), 4) for key, values in found.items()}
        rows.append(row)
        print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    return rows


def main(arguments: Sequence[str]) -> int:
    """Print the table and write the results."""
    settings = tomllib.loads(SETTINGS_FILE.read_text())
    options = parser((__doc__ or "").split("\n")[0], list(settings["sets"]), ["isic2018", "busi", "drishti_gs"], 4)
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args(arguments)
    rows = run(settings, given)
    if given.output:
        write_part(given.output, settings, "speed", rows, ("set",))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
