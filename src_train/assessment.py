"""How good the encoder is while it trains: finding held-out warps again, and the error on labels where some are given.

Nothing that is trained is touched: the averaged encoder is asked, in evaluation mode, on batches that follow from a
seed of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from napari_ld.model.encoder import DenseEncoder
from napari_ld.model.preprocessing import IntensityNormalization
from src_train.data.dataset import Dataset
from src_train.data.geometry import pixel_grid, sample
from src_train.data.views import ViewMaker
from src_train.labelled import LabelledImages, landmark_error, load_landmarks, load_masks, mask_error
from src_train.objectives.dense import draw_cells

# Beyond every step and seed of training, so that no warp of training is asked for.
_STREAM = 0x0A55E55
SELECTIONS = ("last", "correspondence", "landmarks", "masks")


@dataclass(frozen=True)
class Evaluation:
    """What is measured during training, and what it decides.

    Attributes
    ----------
    every : int
        Steps between two measurements; 0: none.
    couples, points : int
        Couples of images, and points per image, of the correspondence score.
    select : {"last", "correspondence", "landmarks", "masks"}
        Which encoder is exported: the last, or the best by this measure.
    patience : int
        Stop after so many measurements without a better one; 0: never.
    landmarks : str
        CSV file with landmarks of at least two images (as the plugin writes it); empty: not measured.
    masks : str
        Folder of label images named as the images they belong to; empty: not measured.
    images : str
        Folder of the labelled images; empty: the training folders.
    most : int
        Labelled images used, the first by name.
    """

    every: int = 100
    couples: int = 8
    points: int = 64
    select: str = "last"
    patience: int = 0
    landmarks: str = ""
    masks: str = ""
    images: str = ""
    most: int = 20


class Assessor:
    """Measures encoders on the same warps and labels every time.

    Parameters
    ----------
    evaluation : Evaluation
    dataset : Dataset
    maker : ViewMaker
    normalization : IntensityNormalization
    folders : sequence of path
        Training folders.
    seed : int

    Raises
    ------
    ConfigError
        When labels are asked for that do not exist or have no image.
    """

    def __init__(
        self,
        evaluation: Evaluation,
        dataset: Dataset,
        maker: ViewMaker,
        normalization: IntensityNormalization,
        folders: tuple[str, ...],
        seed: int,
    ) -> None:
        self.evaluation = evaluation
        self.dataset = dataset
        self.maker = maker
        self.normalization = normalization
        self.seed = seed
        where = [Path(evaluation.images)] if evaluation.images else [Path(folder) for folder in folders]
        self._landmarks: LabelledImages | None = None
        self._masks: LabelledImages | None = None
        if evaluation.landmarks:
            self._landmarks = load_landmarks(Path(evaluation.landmarks), where, evaluation.most)
        if evaluation.masks:
            self._masks = load_masks(Path(evaluation.masks), where, evaluation.most)

    def __call__(self, encoder: DenseEncoder) -> dict[str, float]:
        """Measure.

        Returns
        -------
        dict
            ``correspondence``: share of points found again within 3 % of the view; ``correspondence_error``: their
            median distance in view pixels; ``smallest_area``: of all clusters; ``landmarks``: mean error in % of the
            image's longest side; ``masks``: 1 - Dice.
        """
        trained = encoder.training
        encoder.eval()
        scores = self._correspondence(encoder)
        if self._landmarks is not None:
            scores["landmarks"] = landmark_error(self._landmarks, encoder, self.normalization)
        if self._masks is not None:
            scores["masks"] = mask_error(self._masks, encoder, self.normalization)
        encoder.train(trained)
        return scores

    def score(self, measured: dict[str, float]) -> float | None:
        """What is compared: higher is better; None when nothing is selected by."""
        select = self.evaluation.select
        if select == "last":
            return measured["correspondence"] if self.evaluation.patience else None
        return measured[select] if select == "correspondence" else -measured[select]

    @torch.no_grad()
    def _correspondence(self, encoder: DenseEncoder) -> dict[str, float]:
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, 0, _STREAM]))
        chance = torch.Generator().manual_seed(self.seed)
        errors, areas = [], []
        for _ in range(self.evaluation.couples):
            batch = self.maker(self.dataset.draw_couples(1, rng), rng)
            first, second = encoder(batch.first), encoder(batch.second)
            drawn = torch.rand(len(batch.first), self.evaluation.points, generator=chance)
            size, stride = batch.first.shape[-1], batch.first.shape[-1] // batch.overlap.shape[-1]
            cells, weight = draw_cells(batch.overlap, drawn.to(batch.first.device))
            places = pixel_grid(size // stride, stride, cells.device).flatten(1, 2)[0][cells]
            goals = batch.partner.flatten(1, 2).gather(1, cells[..., None].expand(-1, -1, 2))
            found = _find(first.embedding, second.embedding, places, size)
            errors.append((found - goals).norm(dim=-1)[weight > 0].cpu())
            if second.clusters is not None:
                areas.append(second.clusters.float().mean((0, 2, 3)).cpu())
        joined = torch.cat(errors)
        within = float((joined <= 0.03 * self.maker.params.size).float().mean()) if len(joined) else 0.0
        measured = {"correspondence": within}
        if len(joined):
            measured["correspondence_error"] = float(joined.median())
        if areas:
            measured["smallest_area"] = float(torch.stack(areas).mean(0).min())
        return measured


def _find(first: Tensor, second: Tensor, places: Tensor, size: int) -> Tensor:
    """Most similar place of view 2, in view pixels ``(x, y)``, for places of view 1, ``(B, P, 2)``."""
    stride = size // second.shape[-1]
    queries = sample(first, places[:, None], stride)[:, :, 0].transpose(1, 2)
    best = torch.bmm(queries, second.flatten(2)).argmax(2)
    cells = torch.stack([best % second.shape[-1], best // second.shape[-1]], -1)
    return cells * stride + (stride - 1) / 2
