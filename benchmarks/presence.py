"""Where along the slices of a volume a structure begins and ends: how well the stack kind ``volume`` tells.

``python -m benchmarks.presence --output FILE`` prints a table and writes the JSON. A structure is clicked on its middle
slice; it is truly present on the slices of its mask, or of the phantom's rod. The points of brain templates are small
things of unknown extent: present within 4 mm is assumed. The rule before (no threshold but half of the scale, several
pieces) stands beside the present one. The level of the rule was chosen on the sets with masks and the brain templates,
not on the phantoms.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.folds import data_root
from benchmarks.machine import write_results
from benchmarks.outcomes import benchmark_store
from benchmarks.report import align
from napari_ld._sample_space import phantom_volume
from napari_ld._types import Image
from napari_ld.embedding import FeatureSource
from napari_ld.io.images import read_image
from napari_ld.localization import LocateParams, Template
from napari_ld.localization.coarse import candidates
from napari_ld.localization.confidence import background, neighbour
from napari_ld.localization.query import Query
from napari_ld.localization.volume import allowed_gap, best_path, one_piece
from napari_ld.model.checkpoint import LoadedModel, load_model
from napari_ld.model.zoo import DEFAULT_ENCODER, resolve

NEAR = 4.0  # millimetres around a point of the brain templates
MASKS: dict[tuple[str, str], dict[int, str]] = {
    ("sts", "STS_012_CT.nii.gz"): {1: "tumour"},
    ("sts", "STS_015_MR_T1.nii.gz"): {1: "tumour"},
    ("left_atrium", "1GU15S0GJ6PFNARO469W.nii.gz"): {1: "left atrium"},
    ("left_atrium", "CZPMV6KWZ4I7IJJP9FOK.nii.gz"): {1: "left atrium"},
    ("lung_ct", "LUNG1-001.nii.gz"): {1: "left lung", 2: "right lung", 3: "spinal cord", 4: "tumour"},
}
RULES = {"before: level 0.5, pieces": (0.5, False), "level 0.65, one piece": (0.65, True)}

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Case:
    """A volume, and structures with their click (plane, row, column) and the slices on which they are."""

    group: str
    image: Image
    clicks: dict[str, tuple[int, float, float]]
    present: dict[str, Mask]


def phantoms(seeds: Sequence[int] = (0, 1, 2)) -> Iterator[Case]:
    """Rods whose ends are known."""
    for seed in seeds:
        sample = phantom_volume(seed=seed)
        clicks, present = {}, {}
        for name in sorted({row.name for row in sample.landmarks}):
            rows = [row for row in sample.landmarks if row.name == name]
            middle = rows[len(rows) // 2]
            clicks[name] = (int(middle.plane or 0), *middle.position)
            present[name] = np.isin(np.arange(sample.image.n_planes), [int(row.plane or 0) for row in rows])
        yield Case("phantom rods", sample.image, clicks, present)


def masked() -> Iterator[Case]:
    """Structures with masks."""
    for (folder, file), labels in MASKS.items():
        image = read_image(data_root() / folder / "images" / file)
        mask = np.asarray(read_image(data_root() / folder / "masks" / file).array)
        clicks, present = {}, {}
        for label, name in labels.items():
            present[name] = (mask == label).sum(axis=(1, 2)) >= 4
            planes = np.flatnonzero(present[name])
            middle = int(planes[len(planes) // 2])
            row, column = np.argwhere(mask[middle] == label).mean(axis=0)
            clicks[name] = middle, float(row), float(column)
        yield Case("structures with masks", image, clicks, present)


def points(every: int = 4) -> Iterator[Case]:
    """Points of brain templates."""
    folder = data_root() / "brain_templates"
    with open(folder / "landmarks.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for file in sorted({row["image"] for row in rows})[::2]:
        image = read_image(folder / "images" / file)
        own = sorted((row for row in rows if row["image"] == file), key=lambda row: row["landmark"])[::every]
        clicks = {r["landmark"]: (round(float(r["plane"])), float(r["row"]), float(r["column"])) for r in own}
        planes = np.arange(image.n_planes) * (image.spacing or (1.0,))[0]
        present = {r["landmark"]: np.abs(planes - float(r["plane"]) * planes[1]) <= NEAR for r in own}
        yield Case("points of brain templates", image, clicks, present)


def decide(model: LoadedModel, case: Case) -> Iterator[tuple[str, str, Mask]]:
    """``(rule, structure, slices on which it is called present)``."""
    source = FeatureSource(case.image, model, store=benchmark_store(), shared_limits=True)
    params = LocateParams()
    scale = np.array(source.scale(0))
    spacing, gap = source.spacing(0), source.plane_spacing()
    drift = 0.0 if spacing is None or gap is None else params.slice_drift * gap * scale[0] / spacing[0]
    typical = max(params.slice_drift_pixels, float(drift))
    for name, (plane, row, column) in case.clicks.items():
        query = Query(source, [Template(name, source, plane, (row, column))], params)
        found = [at[0] for at in candidates(source, query, range(source.n_planes), params.slice_candidates)]
        zero, near = background(query, 0), neighbour(query, 0)
        one = 1.0 if near is None else max(near, zero)
        for rule, (level, single) in RULES.items():
            threshold = zero + level * (one - zero)
            places = [np.array([[row, column]]) if at.plane == plane else at.positions for at in found]
            rewards = [np.array([1e6]) if at.plane == plane else at.scores - threshold for at in found]
            moved = [place * scale / typical for place in places]
            path = best_path(moved, rewards, params.slice_continuity, params.slice_switch)
            yield rule, name, np.array(one_piece(path, rewards, allowed_gap(source)) if single else path) >= 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.presence", description=__doc__)
    parser.add_argument("--encoder", default=DEFAULT_ENCODER, help="bundled name or file")
    parser.add_argument("--groups", nargs="+", default=["phantoms", "masked", "points"])
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    options = parser.parse_args(arguments)
    model, cases = load_model(resolve(options.encoder)), {"phantoms": phantoms, "masked": masked, "points": points}
    rows: list[dict[str, Any]] = []
    for group in options.groups:
        for case in cases[group]():
            gap = float((case.image.spacing or (1.0,))[0])
            for rule, name, called in decide(model, case):
                truth = case.present[name]
                beyond = np.flatnonzero(called & ~truth)
                planes = np.flatnonzero(truth)
                reach = max((min(abs(int(b) - int(p)) for p in planes) for b in beyond), default=0) * gap
                f1 = 2 * (called & truth).sum() / (called.sum() + truth.sum())
                row = {"group": case.group, "rule": rule, "structure": name, "f1": float(f1), "too far, mm": reach}
                rows.append(row)
            print(f"{case.group}: {case.image.source or 'phantom'}", file=sys.stderr, flush=True)
    lines = [["", "rule", "F1 of slices", "reaches too far, mm: median", "largest", "n"]]
    for name in dict.fromkeys(row["group"] for row in rows):
        for rule in RULES:
            own = [row for row in rows if row["group"] == name and row["rule"] == rule]
            far = [float(row["too far, mm"]) for row in own]
            mean = f"{np.mean([float(row['f1']) for row in own]):.2f}"
            lines.append([str(name), rule, mean, f"{np.median(far):.0f}", f"{max(far):.0f}", str(len(own))])
    print(align(lines))
    if options.output:
        write_results(options.output, {"results": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
