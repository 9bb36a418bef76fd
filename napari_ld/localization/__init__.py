"""Find a landmark on every plane of a stack from one click."""

from napari_ld.localization._locate import STACK_KINDS, locate
from napari_ld.localization.params import NATIVE, FineStage, LocateParams
from napari_ld.localization.query import Template
from napari_ld.localization.suggest import suggest_template

__all__ = ["NATIVE", "STACK_KINDS", "FineStage", "LocateParams", "Template", "locate", "suggest_template"]
