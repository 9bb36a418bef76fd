"""Tables for the documents, from the JSON of a benchmark.

``python -m benchmarks.markdown benchmarks/results/landmarks.json``
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import TITLES

Row = dict[str, Any]
NAMES = {
    "ceph": "cephalograms, 19 landmarks, mm",
    "fundus_disc": "optic disc, % of width",
    "fundus_fovea": "fovea, % of width",
    "hand": "hands, 21 points, % of height",
    "phantom": "phantom (synthetic), % of height",
}


def first_template(rows: Sequence[Row]) -> str:
    """One row per set and method, with the template that the settings name first."""
    lines = [
        "| set, template | method | mean (95 % interval) | median | within 2 | within 4 |",
        "|---|---|---|---|---|---|",
    ]
    for name, part in _parts(rows):
        chosen = [row for row in rows if (row["set"], row["images"]) == (name, part)]
        template = chosen[0]["template"]
        title = f"{NAMES[name]}{', mirrored or turned ones' if part == 'hard' else ''}, {Path(template).stem}"
        for row in chosen:
            if row["template"] == template:
                low, high = row["interval"]
                cells = [f"{row['mean']:.2f} ({low:.2f} to {high:.2f})", f"{row['median']:.2f}", *_success(row)]
                lines.append(f"| {title} | {TITLES[row['method']]} | {' | '.join(cells)} |")
                title = ""
    return "\n".join(lines)


def all_templates(rows: Sequence[Row]) -> str:
    """Mean and median out of fold for each template, and the mean over them of the others."""
    lines = ["| set | method | mean / median by template | mean of the means |", "|---|---|---|---|"]
    for name, part in _parts(rows):
        title = NAMES[name] + (", mirrored or turned ones" if part == "hard" else "")
        chosen = [row for row in rows if (row["set"], row["images"]) == (name, part)]
        for method in dict.fromkeys(row["method"] for row in chosen):
            own = [row for row in chosen if row["method"] == method]
            cells = " · ".join(f"{row['mean']:.2f} / {row['median']:.2f}" for row in own)
            lines.append(f"| {title} | {TITLES[method]} | {cells} | {np.mean([row['mean'] for row in own]):.2f} |")
            title = ""
    return "\n".join(lines)


def ablation(rows: Sequence[Row]) -> str:
    """One row per variant."""
    sets = [name for name in NAMES if name in rows[0]]
    lines = [
        f"| losses | {' | '.join(NAMES[name] for name in sets)} | smallest cluster |",
        "|---" * (len(sets) + 2) + "|",
    ]
    for row in rows:
        cells = " | ".join(f"{row[name]['mean']:.2f} / {row[name]['median']:.2f}" for name in sets)
        lines.append(f"| {row['variant']} | {cells} | {100 * row['smallest_area']:.1f} % |")
    return "\n".join(lines)


def _parts(rows: Sequence[Row]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((row["set"], row["images"]) for row in rows))


def _success(row: Row) -> list[str]:
    rates = {float(threshold): rate for threshold, rate in row["sdr"].items()}
    within = [max((t for t in rates if t <= limit), default=None) for limit in (2.0, 4.0)]
    return ["" if t is None else f"{rates[t]:.0f} %{'' if t in (2.0, 4.0) else f' (within {t:g})'}" for t in within]


def main(arguments: Sequence[str]) -> int:
    """Print the tables of each file."""
    for path in arguments:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if "rows" in content:
            print(ablation(content["rows"]))
        else:
            print(first_template(content["results"]), all_templates(content["results"]), sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
