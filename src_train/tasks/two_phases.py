"""How tasks are trained: the head on the frozen encoder first, then both, the encoder more slowly."""

from __future__ import annotations

from collections.abc import Mapping

from napari_ld.model.heads import Classifier, Segmenter
from src_train.objectives.labelled import maps
from src_train.protocol import Method, Objective, OptimGroup, OptimizerParams, Phase, Provider
from src_train.schedules import Schedule, model_rate


def two_phases(
    network: Segmenter | Classifier,
    logits: Provider,
    objectives: Mapping[str, Objective],
    terms: Mapping[str, float],
    schedule: Schedule,
    encoder_rate: float,
) -> Method:
    """Networks ``encoder`` and ``head``; phase ``frozen`` trains the head, phase ``fine`` both.

    Parameters
    ----------
    network : Segmenter or Classifier
        What is averaged and exported.
    logits : callable
        Provider of what the objectives look at; ``context["maps"]`` are the encoder's.
    objectives, terms : mapping
    schedule : Schedule
        ``first_phase`` is the share of the steps with a frozen encoder.
    encoder_rate : float
        Learning rate of the encoder as a share of the head's.
    """
    optimizer = OptimizerParams(schedule.optimizer, schedule.learning_rate, schedule.weight_decay)
    rate, first, slower = model_rate(schedule), schedule.first_phase_steps, {"encoder": encoder_rate}

    def phase(name: str, steps: int, networks: tuple[str, ...]) -> Phase:
        return Phase(name, steps, (OptimGroup("model", networks, terms, optimizer, rate, schedule.clip, slower),))

    return Method(
        {"encoder": network.encoder, "head": network.head},
        {"maps": maps, "logits": logits},
        objectives,
        (phase("frozen", first, ("head",)), phase("fine", schedule.steps - first, ("head", "encoder"))),
        exported=network,
    )
