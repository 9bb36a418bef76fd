"""Batches of views by step: each is a function of (seed, step) alone, so a resumed run sees what it would have seen."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from src_train.distributed import World
from src_train.protocol import Batch


class Drawing(Protocol):
    """A data set to draw from."""

    def draw_couples(self, couples: int, rng: np.random.Generator) -> Any:
        """What the maker makes a batch of."""
        ...


class Maker(Protocol):
    """Makes batches."""

    def __call__(self, drawn: Any, rng: np.random.Generator, share: slice | None = None, /) -> Batch:
        """Make the ``share`` of a batch that is this process's."""
        ...


class Batches:
    """The share that this process has of the global batch of every step.

    Parameters
    ----------
    dataset : Drawing
        Usually a :class:`src_train.data.dataset.Dataset`.
    maker : Maker
        Usually a :class:`src_train.data.views.ViewMaker`.
    couples : int
        Of the global batch.
    seed : int
    world : World
    """

    def __init__(self, dataset: Drawing, maker: Maker, couples: int, seed: int, world: World | None = None) -> None:
        self.dataset = dataset
        self.maker = maker
        self.couples = couples
        self.seed = seed
        self.world = world or World()
        self.share = self.world.share(couples)

    def halved(self) -> Batches:
        """Half as many couples a step, but at least one a process, of the same images in the same order of draws."""
        own = max(1, self.couples // 2 // self.world.size)
        return Batches(self.dataset, self.maker, own * self.world.size, self.seed, self.world)

    def at(self, step: int) -> Batch:
        """The batch of one step."""
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, step]))
        return self.maker(self.dataset.draw_couples(self.couples, rng), rng, self.share)

    def ahead(self, first: int, stop: int) -> Generator[Batch, None, None]:
        """Batches of the steps ``first`` to ``stop``, the next one made in a thread while one is used."""
        with ThreadPoolExecutor(1) as pool:
            coming = [pool.submit(self.at, step) for step in range(first, min(first + 1, stop))]
            for step in range(first, stop):
                batch = coming.pop().result()
                coming += [pool.submit(self.at, step + 1)] if step + 1 < stop else []
                yield batch
