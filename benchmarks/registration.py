"""Registration of whole volumes with SimpleITK, the usual way to carry points from one to another: a baseline.

Affine from the centres of the volumes, then cubic B-splines; Mattes mutual information with random samples, two
resolutions each. SimpleITK is a dependency of the benchmarks only.

References
----------
.. [1] Rueckert et al., "Nonrigid registration using free-form deformations", IEEE TMI 18:712, 1999.
.. [2] Mattes et al., "PET-CT image registration in the chest using free-form deformations", IEEE TMI 22:120, 2003.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_ld._types import Image

__all__ = ["register"]

Points = npt.NDArray[np.float64]


def register(template: Image, target: Image, points: Points, settings: Mapping[str, Any]) -> dict[str, Points]:
    """Carry points (N, 3) in voxels (plane, row, column) of ``template`` to ``target``.

    Returns
    -------
    dict
        ``affine`` and ``bspline``: (N, 3) voxels of the target.
    """
    import SimpleITK

    sitk: Any = SimpleITK
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)  # one thread, so that random samples repeat
    fixed, moving = _image(sitk, template), _image(sitk, target)
    affine = _affine(sitk, fixed, moving, settings)
    both = sitk.CompositeTransform([affine, _bspline(sitk, fixed, moving, affine, settings)])
    return {
        name: np.array([_carry(transform, fixed, moving, point) for point in points])
        for name, transform in (("affine", affine), ("bspline", both))
    }


def _image(sitk: Any, image: Image) -> Any:
    found = sitk.GetImageFromArray(np.asarray(image.array, np.float32))
    found.SetSpacing([float(step) for step in (image.spacing or (1.0, 1.0, 1.0))[::-1]])
    return found


def _method(sitk: Any, settings: Mapping[str, Any]) -> Any:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(settings["bins"])
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentagePerLevel(settings["samples"], seed=settings["seed"])
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel(settings["shrink"])
    method.SetSmoothingSigmasPerLevel(settings["smooth"])
    return method


def _affine(sitk: Any, fixed: Any, moving: Any, settings: Mapping[str, Any]) -> Any:
    centres = sitk.CenteredTransformInitializerFilter.GEOMETRY
    start = sitk.CenteredTransformInitializer(fixed, moving, sitk.AffineTransform(3), centres)
    method = _method(sitk, settings)
    method.SetOptimizerAsGradientDescent(1.0, settings["affine_steps"], 1e-6, 10)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(start, inPlace=False)
    return method.Execute(fixed, moving)


def _bspline(sitk: Any, fixed: Any, moving: Any, affine: Any, settings: Mapping[str, Any]) -> Any:
    grid = sitk.BSplineTransformInitializer(fixed, [settings["mesh"]] * 3, 3)
    method = _method(sitk, settings)
    method.SetMovingInitialTransform(affine)
    method.SetInitialTransform(grid, inPlace=True)
    method.SetOptimizerAsLBFGSB(1e-5, settings["bspline_steps"], 5, 500, 1e7)
    return method.Execute(fixed, moving)


def _carry(transform: Any, fixed: Any, moving: Any, point: Points) -> list[float]:
    place = fixed.TransformContinuousIndexToPhysicalPoint([float(value) for value in point[::-1]])
    found = moving.TransformPhysicalPointToContinuousIndex(transform.TransformPoint(place))
    return [float(value) for value in found[::-1]]
