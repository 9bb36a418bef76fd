"""Metrics shared by benchmarks and training; plain numpy."""

from napari_ld.evaluation.bootstrap import bootstrap_interval
from napari_ld.evaluation.overlap import dice
from napari_ld.evaluation.radial import RadialSummary, radial_errors, success_rate, summarize

__all__ = ["RadialSummary", "bootstrap_interval", "dice", "radial_errors", "success_rate", "summarize"]
