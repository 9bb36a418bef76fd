"""Adaptation in seconds: the encoder stays, and a person's points teach what tells a landmark from its surroundings.

A similarity asks how much a place looks like the examples, and takes every channel of a descriptor to be as telling as
any other. With several examples more is known: what they have in common, and what stands close to them without being
the landmark. A :class:`Detector` is a linear score of a descriptor that is 1 on the landmark and falls to 0 around it.
It is fitted by ridge regression to a bell around each example, as correlation filters are [1]_ [2]_, here on
descriptors instead of pixels. [reconstruction: ours]

References
----------
.. [1] Bolme et al., "Visual object tracking using adaptive correlation filters", CVPR 2010.
.. [2] Henriques et al., "High-speed tracking with kernelized correlation filters", TPAMI 37:583, 2015.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_ld.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ADAPTABLE_KINDS", "WORTHWHILE", "AdaptParams", "Detector", "Lessons", "Surroundings"]

Array = npt.NDArray[np.float64]
ADAPTABLE_KINDS = ("images",)  # kinds of stacks for which it was measured that adaptation helps
WORTHWHILE = 12  # planes from which on the answers on a stack teach enough that nobody need ask for it
_FAINTEST = 1e-3  # answer at the examples below which a detector has learnt nothing
_LEAST = 1e-9  # penalty where all descriptors are the same


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Places around an example from which is learnt, all lengths in pixels at the working scale.

    Attributes
    ----------
    reach : float
        Radius of the disc that they fill.
    step : float
        Distance from one to the next.
    sigma : float
        Of the bell that is learnt, highest at the example.
    """

    reach: float
    step: float
    sigma: float

    def __post_init__(self) -> None:
        if not 0 < self.step <= self.reach or not self.sigma > 0:
            raise ConfigError(f"{self}: expected a sigma above 0, and a step above 0 that is no longer than the reach")

    @property
    def offsets(self) -> Array:
        """Row and column of every place from the example, (N, 2); the example itself is one of them."""
        count = int(self.reach / self.step)
        line = np.arange(-count, count + 1) * self.step
        square = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
        return np.asarray(square[np.hypot(*square.T) <= self.reach], np.float64)

    @property
    def bell(self) -> Array:
        """What is learnt at :attr:`offsets`, (N,) from 0 to 1."""
        return np.asarray(np.exp(-(self.offsets**2).sum(axis=1) / (2 * self.sigma**2)), np.float64)


@dataclass(frozen=True, slots=True)
class AdaptParams:
    """Settings of the adaptation; one setting for all kinds of images.

    Attributes
    ----------
    search : Surroundings
        For the search of the plane.
    fine : Surroundings
        For the refinement.
    ridge : float
        Penalty on squared weights, as a share of the sum of the variances of all channels.
    weight : float
        Weight of a detector's answer, against 1 for the similarity of gradient descriptors.
    """

    search: Surroundings = field(default_factory=lambda: Surroundings(40.0, 5.0, 8.0))
    fine: Surroundings = field(default_factory=lambda: Surroundings(16.0, 2.0, 3.0))
    ridge: float = 0.006
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.ridge > 0 or not self.weight >= 0:
            raise ConfigError(
                f"ridge {self.ridge}, weight {self.weight}: expected a ridge above 0 and no weight below 0"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Detector:
    """A linear score: 1 on average at the examples, about 0 elsewhere.

    Attributes
    ----------
    weights : (F,) float32 tensor
    offset : float
    """

    weights: Tensor
    offset: float

    def __call__(self, descriptors: Tensor) -> Tensor:
        """Score (N,) of descriptors (N, F)."""
        return descriptors @ self.weights + self.offset


class Lessons:
    """What is needed of places and examples to learn a detector; its memory does not grow with their number.

    Parameters
    ----------
    size : int
        Length F of a descriptor.
    """

    def __init__(self, size: int) -> None:
        import torch

        self._count = self._examples = 0
        self._sum, self._example_sum = torch.zeros(2, size, dtype=torch.float64)
        self._squares = torch.zeros(size, size, dtype=torch.float64)
        self._products = torch.zeros(size, dtype=torch.float64)
        self._wanted = 0.0

    def add(self, descriptors: Tensor, wanted: Tensor, example: Tensor) -> None:
        """Take in the surroundings of one example.

        Parameters
        ----------
        descriptors : (N, F) float32 tensor
            Of places around the example.
        wanted : (N,) float32 tensor
            What the detector should answer there, from 0 to 1.
        example : (F,) float32 tensor
            Descriptor of the example itself.
        """
        self._count += len(descriptors)
        self._sum += descriptors.sum(dim=0)
        self._squares += descriptors.T @ descriptors
        self._products += descriptors.T @ wanted
        self._wanted += float(wanted.sum())
        self._examples += 1
        self._example_sum += example

    def detector(self, ridge: float) -> Detector:
        """Least squares with a penalty; then scaled, so that the mean answer at the examples is 1.

        Parameters
        ----------
        ridge : float
            See :class:`AdaptParams`.

        Returns
        -------
        Detector
            One that always answers 0 without examples, or where nothing tells them from their surroundings.
        """
        import torch

        if self._examples == 0:
            return Detector(torch.zeros(len(self._sum)), 0.0)
        mean = self._sum / self._count
        covariance = self._squares / self._count - mean[:, None] * mean
        slope = self._products / self._count - mean * (self._wanted / self._count)
        penalty = ridge * float(covariance.diagonal().sum()) + _LEAST
        weights = torch.linalg.solve(covariance + penalty * torch.eye(len(mean)), slope)
        height = float((self._example_sum / self._examples - mean) @ weights)
        if height < _FAINTEST:
            return Detector(torch.zeros(len(mean)), 0.0)
        weights = weights / height
        return Detector(weights.float(), -float(mean @ weights))
