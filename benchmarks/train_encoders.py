"""Train the bundled encoder and those of the two folds, with one setting for all.

    python -m benchmarks.train_encoders base   --out runs
    python -m benchmarks.train_encoders fold-a --out runs --init runs/base/encoder.safetensors
    python -m benchmarks.train_encoders fold-b --out runs --init runs/base/encoder.safetensors
    python -m benchmarks.train_encoders all    --out runs --init runs/base/encoder.safetensors
    python -m benchmarks.train_encoders all    --out runs --resume --minutes 9 --device cuda     # in slices

``base`` sees no evaluated image; ``fold-a`` and ``fold-b`` never see the images of that fold; ``nohand`` and ``noceph``
see no hand and no cephalogram, for the question what retraining on a new kind of image is worth; ``all`` is the encoder
that ships. ``nohand`` starts from random weights: ``base`` has seen hands, if none that is evaluated. ``--kind`` keeps
to radiographs, fundus photographs or volumes. Labels are never read. The data are found through NAPARI_LD_DATA.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from napari_ld.errors import ConfigError
from src_train.config import load_config
from src_train.memory import keep_freed_memory
from src_train.run import resume_training, run_training, set_threads

# Folder below NAPARI_LD_DATA and how often it is drawn.
GROUPS: dict[str, float] = {
    "ceph": 0.30,
    "hand": 0.18,
    "idrid_points": 0.10,
    "idrid_segmentation": 0.06,
    "idrid_unlabelled": 0.09,
    "fundus_unlabelled": 0.06,
    "drishti_gs": 0.02,
    "drive": 0.02,
    "acdc": 0.02,
    "left_atrium": 0.02,
    "lung_ct": 0.02,
    "ms_lesions": 0.02,
    "mouse_skull": 0.02,
    "brain_templates": 0.01,
    "sts": 0.01,
    "isic2018": 0.02,
    "busi": 0.01,
    "histology": 0.01,
    "em_stack": 0.01,
}
# That of a training from random weights, also where one continues: these runs are long.
PACE = ("schedule.learning_rate=2e-3", "schedule.first_phase=0.3")
# What each encoder must not see: both sides of the evaluated sets, one side, nothing, or one whole set.
HIDDEN_FOLDS = {"base": ("a", "b"), "fold-a": ("a",), "fold-b": ("b",), "all": (), "nohand": (), "noceph": ()}
KINDS = {
    "all": tuple(GROUPS),
    "xray": ("ceph", "hand"),
    "fundus": ("idrid_points", "idrid_segmentation", "idrid_unlabelled", "fundus_unlabelled", "drishti_gs", "drive"),
    "mri-ct": ("acdc", "left_atrium", "lung_ct", "ms_lesions", "mouse_skull", "brain_templates", "sts"),
}
HIDDEN_GROUPS = {"base": ("ceph", "idrid_points"), "nohand": ("hand",), "noceph": ("ceph",)}


def hidden_images(which: str, folds: dict[str, Any]) -> set[str]:
    """File names that this encoder must not see: duplicates of evaluated images, and its folds."""
    hidden = {name for names in folds["exclude"].values() for name in names}
    for key, parts in folds.items():
        if key != "exclude":
            hidden |= {name for side in HIDDEN_FOLDS[which] for name in parts[side]}
    return hidden


def main(arguments: list[str] | None = None) -> int:
    """Run one training."""
    parser = argparse.ArgumentParser(description="Train the encoders that ship and those of the folds.")
    parser.add_argument("which", choices=sorted(HIDDEN_FOLDS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", default="")
    parser.add_argument("--kind", choices=list(KINDS), default="all", help="only images of one kind")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--name", default="", help="name of the run folder and encoder; default: WHICH")
    parser.add_argument("--resume", action="store_true", help="go on with this run if it was begun")
    parser.add_argument("--minutes", type=float, default=0.0, help="stop with a checkpoint after this time")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    set_threads(options.threads)
    keep_freed_memory()
    run = options.out / (options.name or options.which)
    slices = [f"schedule.minutes={options.minutes}", f"device={options.device}"]
    if options.resume and (run / "last.ckpt").is_file():
        print(resume_training(run, settings=[*options.set, *slices]))
        return 0
    root = os.environ.get("NAPARI_LD_DATA")
    if not root:
        raise ConfigError("NAPARI_LD_DATA is not set: it names the folder with the development data")
    folds = json.loads((Path(__file__).parent / "folds.json").read_text(encoding="utf-8"))
    kind = set(KINDS[options.kind]) - set(HIDDEN_GROUPS.get(options.which, ()))
    groups = {name: weight for name, weight in GROUPS.items() if name in kind}
    config = load_config(
        "standard",
        settings=[*PACE, *options.set, *slices],
        name=options.name or ("ld-general" if options.which == "all" else f"ld-general-{options.which}"),
        licence="research use only: trained on images whose licences forbid or do not state other use; see the card",
        data=tuple(str(Path(root) / name / "images") for name in groups),
        data_weights=tuple(groups.values()),
        exclude=tuple(sorted(hidden_images(options.which, folds))),
        init=options.init,
    )
    print(run_training(config, run))
    return 0


if __name__ == "__main__":
    sys.exit(main())
