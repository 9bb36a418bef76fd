"""Errors that napari-ld raises on purpose; each message says what came, what was expected and what to do.

::

    NapariLDError
    ├── ImageError          pixels that cannot be used (empty, unreadable, wrong channels)
    ├── LandmarkError       landmark tables, names and positions
    ├── RegionError         masks, regions and examples that cannot be used
    ├── ModelFileError      weights files: corrupt, truncated, foreign, newer format, unknown name
    ├── ConfigError         options and configurations of training
    ├── TrainingError       a training that cannot go on (its loss is not finite)
    ├── StorageError        disk full, no permission
    └── Cancelled           the user pressed Cancel
"""

from __future__ import annotations


class NapariLDError(Exception):
    """Base of all errors that napari-ld raises on purpose."""


class ImageError(NapariLDError):
    """An image that cannot be used."""


class LandmarkError(NapariLDError):
    """A landmark table, name or position that cannot be used."""


class RegionError(NapariLDError):
    """A mask, region or example that cannot be used."""


class ModelFileError(NapariLDError):
    """A weights file that cannot be used."""


class ConfigError(NapariLDError):
    """An option or configuration that cannot be used."""


class TrainingError(NapariLDError):
    """A training that cannot go on."""


class StorageError(NapariLDError):
    """Results cannot be written."""


class Cancelled(NapariLDError):
    """The work was cancelled on request."""
