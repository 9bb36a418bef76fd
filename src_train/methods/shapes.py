"""Shape-guided segmentation as an add-on to LD: masks of another modality say what the first cluster shall look like.

Local Discrimination (arXiv 2108.09440 v1; authors' code): a discriminator tells masks from the first channel of the
clustering, which is trained to pass for one, while region discrimination keeps it one structure. No image of the mask's
modality and no label of the image's is needed. Game and discriminator are the published ones; where the authors take 8
clusters the encoder keeps its own number.
"""

from __future__ import annotations

from dataclasses import replace

from napari_ld.errors import ConfigError
from src_train.data.shapes import load_shapes
from src_train.networks.shape_discriminator import ShapeDiscriminator
from src_train.objectives.shapes import (
    LookLikeShapes,
    ShapeParams,
    TellShapes,
    fakes_of_full_maps,
    fakes_of_views,
    masks_like,
)
from src_train.protocol import Method, OptimGroup, OptimizerParams, Phase
from src_train.schedules import Schedule


def add_shapes(method: Method, schedule: Schedule, shapes: ShapeParams) -> Method:
    """Add the game to the phases of LD that train clusters: in each step the network first, then the discriminator.

    Raises
    ------
    ConfigError
        For a method without region discrimination, or without masks.
    """
    if "region" not in method.objectives:
        raise ConfigError("the add-on 'shapes' needs clusters: choose the method ld+shapes or ld-paper+shapes")
    masks = load_shapes(shapes.masks)
    fakes = fakes_of_full_maps if "full_maps" in method.providers else fakes_of_views
    phases = tuple(_with_game(phase, schedule, shapes) for phase in method.phases)
    if phases == method.phases:
        raise ConfigError("no phase of this run trains clusters: lower schedule.first_phase")
    return Method(
        {**dict(method.networks.items()), "shape_discriminator": ShapeDiscriminator(shapes.leaky_slope)},
        {**method.providers, "shape_fakes": fakes, "shape_masks": masks_like(masks)},
        {**method.objectives, "shape": LookLikeShapes(), "shape_told": TellShapes()},
        phases,
        method.after_step,
        method.view_extras,
    )


def _with_game(phase: Phase, schedule: Schedule, shapes: ShapeParams) -> Phase:
    first, *others = phase.groups
    if not first.terms.get("region"):
        return phase
    joined = replace(first, terms={**first.terms, "shape": shapes.weight})
    optimizer = OptimizerParams("adam", schedule.learning_rate * shapes.rate)
    critic = OptimGroup("shape_critic", ("shape_discriminator",), {"shape_told": 1.0}, optimizer, first.rate)
    return replace(phase, groups=(joined, *others, critic))
