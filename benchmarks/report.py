"""Numbers and tables from the errors of methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import EvaluationSet
from benchmarks.outcomes import Outcome
from napari_ld.evaluation import summarize

Row = dict[str, Any]

TITLES = {
    "encoder": "encoder",
    "out of fold": "encoder, out of fold",
    "untrained": "untrained encoder",
    "same_position": "same position",
    "correlation": "normalised correlation",
    "sift": "dense SIFT",
    "sift_octaves": "dense SIFT, 3 octaves",
    "flow": "DIS optical flow",
    "imagenet": "ImageNet features",
    "xfeat": "XFeat",
    "xfeat_512": "XFeat, 512 pixels",
}
OURS = ("encoder", "out of fold")
EXTRA = ("sift_octaves",)  # reported beside the usual baselines, not among them


def rows_of(outcome: Outcome, data: EvaluationSet, settings: Mapping[str, Any]) -> list[Row]:
    """Summarise an outcome: one row for the images proper, one for the hard ones where the set lists any."""
    parts = {"main": [name for name in outcome.errors if name not in data.hard]}
    parts["hard"] = [name for name in outcome.errors if name in data.hard]
    return [_row(outcome, data, settings, part, names) for part, names in parts.items() if names]


def _row(outcome: Outcome, data: EvaluationSet, settings: Mapping[str, Any], part: str, names: Sequence[str]) -> Row:
    thresholds = settings["sdr_mm"] if data.unit == "mm" else settings["sdr_percent"]
    errors = np.array([outcome.errors[name] for name in names])
    summary = summarize(
        errors.ravel(),
        np.repeat(names, errors.shape[1]).tolist(),
        thresholds,
        samples=settings["bootstrap_samples"],
        level=settings["interval"],
        seed=settings["seed"],
    )
    row: Row = {
        "set": data.name,
        "method": outcome.method,
        "template": outcome.template,
        "images": part,
        "n_images": len(names),
        "unit": data.unit,
        "mean": summary.mean,
        "interval": summary.interval,
        "median": summary.median,
        "sdr": {f"{threshold:g}": rate for threshold, rate in summary.success.items()},
        "per_landmark": dict(zip(data.landmarks, errors.mean(axis=0).tolist(), strict=True)),
    }
    if part == "main":
        row["missing"] = outcome.missing
    if outcome.coarse:
        row["mean_coarse"] = float(np.mean([outcome.coarse[name] for name in names]))
    return row


def ratios(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Per set, the encoder's mean error divided by that of each baseline, for the first template and the mean of all.

    ``best usual`` leaves out the baselines of :data:`EXTRA`, which are stronger than what is usually compared with.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(row["set"] for row in rows):
        main = [row for row in rows if row["set"] == name and row["images"] == "main"]
        templates = list(dict.fromkeys(row["template"] for row in main))
        for which, counted in (("first template", templates[:1]), ("mean of templates", templates)):
            means = {
                method: float(np.mean([r["mean"] for r in main if r["method"] == method and r["template"] in counted]))
                for method in dict.fromkeys(row["method"] for row in main)
            }
            baselines = {method: mean for method, mean in means.items() if method not in OURS}
            usual = [method for method in baselines if method not in EXTRA]
            for method in OURS:
                if method in means and usual:
                    best_usual, best = min(usual, key=means.__getitem__), min(baselines, key=means.__getitem__)
                    found.setdefault(name, {})[f"{method}, {which}"] = {
                        "best usual": [best_usual, means[method] / means[best_usual]],
                        "best": [best, means[method] / means[best]],
                        "each": {other: means[method] / mean for other, mean in baselines.items()},
                    }
    return found


def table(rows: Sequence[Row], *, per_landmark: bool = False) -> str:
    """Lay out the rows as text: for each set the first template in full, then all templates in one line a method."""
    parts = []
    for name in dict.fromkeys(row["set"] for row in rows):
        for images in ("main", "hard"):
            chosen = [row for row in rows if row["set"] == name and row["images"] == images]
            if chosen:
                parts.append(_set_table(chosen, images))
                if per_landmark and images == "main":
                    parts.append(_landmark_table(chosen))
    for name, entries in ratios(rows).items():
        for which, entry in entries.items():
            (usual, to_usual), (best, to_best) = entry["best usual"], entry["best"]
            method, templates = which.split(", ")
            line = f"{name}: {TITLES[method]}, {templates}: {to_usual:.2f} x {TITLES[usual]}"
            parts.append(line if usual == best else f"{line}, {to_best:.2f} x {TITLES[best]}")
    return "\n".join(parts)


def _set_table(rows: Sequence[Row], images: str) -> str:
    first = rows[0]
    templates = list(dict.fromkeys(row["template"] for row in rows))
    title = f"{first['set']}{' (hard images)' if images == 'hard' else ''}, error in {first['unit']}"
    thresholds = list(first["sdr"])
    head = [f"template {first['template']}", "mean", "95 % interval", "median"]
    head += [f"SDR@{t}" for t in thresholds] + ["coarse", "absent", "n"]
    lines = [head]
    for row in rows:
        if row["template"] == first["template"]:
            interval = f"{row['interval'][0]:.2f} to {row['interval'][1]:.2f}"
            line = [TITLES[row["method"]], f"{row['mean']:.2f}", interval, f"{row['median']:.2f}"]
            line += [f"{row['sdr'][t]:.1f}" for t in thresholds]
            coarse = f"{row['mean_coarse']:.2f}" if "mean_coarse" in row else ""
            lines.append([*line, coarse, str(row.get("missing") or ""), str(row["n_images"])])
    text = f"\n{title}\n{align(lines)}"
    if len(templates) > 1:
        text += f"\n{align(_template_lines(rows, templates))}"
    return text


def _template_lines(rows: Sequence[Row], templates: Sequence[str]) -> list[list[str]]:
    """Mean error per template, and their mean."""
    lines = [["mean error by template", *(Path(name).stem for name in templates), "mean"]]
    for method in dict.fromkeys(row["method"] for row in rows):
        means = {row["template"]: row["mean"] for row in rows if row["method"] == method}
        cells = [f"{means[name]:.2f}" if name in means else "" for name in templates]
        lines.append([TITLES[method], *cells, f"{np.mean(list(means.values())):.2f}"])
    return lines


def _landmark_table(rows: Sequence[Row]) -> str:
    """Mean error of each landmark with the first template, one column a method."""
    own = [row for row in rows if row["template"] == rows[0]["template"]]
    lines = [["landmark", *(TITLES[row["method"]] for row in own)]]
    for landmark in own[0]["per_landmark"]:
        lines.append([landmark, *(f"{row['per_landmark'][landmark]:.2f}" for row in own)])
    return align(lines)


def align(lines: Sequence[Sequence[str]]) -> str:
    """Columns of equal width, the first to the left, the others to the right."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if k == 0 else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )
