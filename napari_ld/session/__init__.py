"""All mutable state of the panel, free of Qt: landmarks, regions, undo, requests and results, autosave."""

from napari_ld.session.guidance import guidance, review_guidance
from napari_ld.session.image_work import Work
from napari_ld.session.requests import IdentifyRequest, LocateRequest, Request, Result
from napari_ld.session.session import Session
from napari_ld.session.tracks import Point, Track

__all__ = [
    "IdentifyRequest",
    "LocateRequest",
    "Point",
    "Request",
    "Result",
    "Session",
    "Track",
    "Work",
    "guidance",
    "review_guidance",
]
