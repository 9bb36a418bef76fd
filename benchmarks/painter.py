"""The brush of the simulated annotator: which dab brings a mask closest to the truth.

Sizes are those between which napari's slider for the brush goes, 40 pixels at most. A dab is a click, which paints or
erases a disc, or, when the brush already is where the last dab ended, a drag of one diameter in one of sixteen
directions, which covers a band with round ends.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy import fft

Mask = npt.NDArray[np.bool_]
Array = npt.NDArray[np.float64]

SIZES = (5, 10, 20, 40)  # diameters in pixels
_DIRECTIONS = 16


@dataclass(frozen=True, slots=True)
class Brush:
    """Diameter in pixels, and whether it erases."""

    size: int
    erases: bool = False


BRUSHES = tuple(Brush(size, erases) for erases in (False, True) for size in SIZES)


@dataclass(frozen=True, slots=True, eq=False)
class Dab:
    """What one dab would do: where it ends, the mask after it, and by how much its Dice is better."""

    brush: Brush
    end: tuple[int, int]
    mask: Mask
    gain: float


@dataclass(slots=True, eq=False)
class Painter:
    """Finds dabs on one plane; what was found is kept until the mask is another."""

    truth: Mask
    _mask: Mask | None = field(default=None, init=False)
    _clicks: dict[Brush, Dab] = field(default_factory=dict, init=False)

    def clicks(self, mask: Mask) -> dict[Brush, Dab]:
        """Best click of each brush; ties go to the first place by rows."""
        if self._mask is None or not np.array_equal(self._mask, mask):
            self._mask, self._clicks = mask.copy(), _best_clicks(mask, self.truth)
        return self._clicks

    def drag(self, mask: Mask, brush: Brush, start: tuple[int, int]) -> Dab | None:
        """Best drag of one diameter from where the brush is; None where all leave the plane."""
        found: list[Dab] = []
        for turn in range(_DIRECTIONS):
            angle = 2 * np.pi * turn / _DIRECTIONS
            end = (
                round(start[0] + brush.size * float(np.sin(angle))),
                round(start[1] + brush.size * float(np.cos(angle))),
            )
            if all(0 <= place < side for place, side in zip(end, mask.shape, strict=True)):
                found.append(_dabbed(mask, self.truth, brush, end, band(mask.shape, start, end, brush.size)))
        return max(found, key=lambda dab: dab.gain, default=None)


def dice(mask: Mask, truth: Mask) -> float:
    """Overlap in [0, 1]; 1 where both are empty."""
    total = int(mask.sum()) + int(truth.sum())
    return 2 * int((mask & truth).sum()) / total if total else 1.0


def band(shape: tuple[int, ...], start: tuple[int, int], end: tuple[int, int], size: int) -> Mask:
    """Pixels that a brush of a diameter covers on its way; a disc where it does not move."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    along = np.subtract(end, start).astype(float)
    length = float(along @ along)
    share = 0.0
    if length:
        share = np.clip(((rows - start[0]) * along[0] + (columns - start[1]) * along[1]) / length, 0, 1)
    away = (rows - start[0] - share * along[0]) ** 2 + (columns - start[1] - share * along[1]) ** 2
    return np.asarray(away <= (size / 2) ** 2)


def _dabbed(mask: Mask, truth: Mask, brush: Brush, end: tuple[int, int], touched: Mask) -> Dab:
    after = mask & ~touched if brush.erases else mask | touched
    return Dab(brush, end, after, dice(after, truth) - dice(mask, truth))


def _best_clicks(mask: Mask, truth: Mask) -> dict[Brush, Dab]:
    """The same for all centres at once: sums over discs by the Fourier transform."""
    shape = mask.shape
    wide = tuple(fft.next_fast_len(side + max(SIZES), real=True) for side in shape)
    layers = [mask & truth, mask & ~truth, truth & ~mask, ~truth & ~mask]
    spectra = [fft.rfft2(layer.astype(float), wide) for layer in layers]
    inside, drawn, wanted = int(layers[0].sum()), int(mask.sum()), int(truth.sum())
    found = {}
    for brush in BRUSHES:
        lens, radius = _lens(brush.size, wide)
        right, wrong = (
            np.rint(fft.irfft2(spectrum * lens, wide)[radius : radius + shape[0], radius : radius + shape[1]])
            for spectrum in (spectra[:2] if brush.erases else spectra[2:])
        )
        sign = -1 if brush.erases else 1
        after = 2 * (inside + sign * right) / np.maximum(drawn + wanted + sign * (right + wrong), 1)
        row, column = np.unravel_index(int(after.argmax()), shape)
        end = int(row), int(column)
        found[brush] = _dabbed(mask, truth, brush, end, band(shape, end, end, brush.size))
    return found


@cache
def _lens(size: int, wide: tuple[int, ...]) -> tuple[npt.NDArray[np.complex128], int]:
    """Transform of a disc, and the pixels that it reaches from its centre."""
    radius = size // 2
    side = 2 * radius + 1
    disc = band((side, side), (radius, radius), (radius, radius), size)
    return np.asarray(fft.rfft2(disc.astype(float), wide)), radius
