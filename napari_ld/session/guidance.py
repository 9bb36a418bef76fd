"""The line at the bottom of the panel: what is going on, and what to do next."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from napari_ld.session.scheme import place_in_scheme

if TYPE_CHECKING:
    from napari_ld.session.session import Session


def guidance(session: Session) -> str:
    """One or two sentences for the present state."""
    if session.image is None:
        return "Open an image, or start with one of the samples above."
    if session.obstacle:
        return session.obstacle
    if session.work.error:
        return "The encoder stopped. What happened stands above; then press Propagate."
    track = session.state.get(session.current) if session.current else None
    if track is None:
        return "Press + Add, then click the landmark once on the image."
    step = place_in_scheme(session.state, session.scheme, track.id)
    if session.awaiting_click and step:
        return f"Now click: {track.name} ({step[0]}/{step[1]})."
    if session.awaiting_click:
        return f"Click {track.name} once on any plane." if session.n_planes > 1 else f"Click {track.name} on the image."
    if session.work.running:
        return _running(session)
    if session.n_planes == 1:
        return f"{track.name} is set. Add the next landmark, or save. Open a stack to have it found on other images."
    if session.open_tracks():
        return "Some planes are not searched yet. Press Propagate to go on."
    return _review(session)


def review_guidance(session: Session) -> str:
    """One or two sentences while regions are reviewed."""
    review, proposing = session.regions, session.proposing
    if session.image is None:
        return "Open an image, or start with one of the samples above."
    if session.obstacle:
        return "The viewer shows 3-D. Switch to 2-D with the button at its lower left to review regions."
    if proposing.error:
        return "Proposing stopped. What happened stands above; then press Propose again."
    if proposing.running and not review.book.items:
        return "Looking for regions, on the shown plane first …"
    if not review.book.items:
        return "Press Propose. Then decide with one key each on the image: A accepts, R rejects."
    if not len(review.queue):
        return "Nothing is left in this list. Save the masks, list other regions, or propose others."
    if review.region is None or not review.queue.is_open(review.region.id):
        return "Press Down for the next region, or click one on the image or in the list."
    return "A accepts, R rejects, Down goes on. Paint and erase in the layer LD accepted where a mask is not right."


def _running(session: Session) -> str:
    work = session.work
    if not work.device:
        return "Loading the encoder …"
    if work.embedded < work.total:
        return f"Embedding the planes, nearest first: {work.embedded} of {work.total}. You can go on working."
    waiting = session.open_tracks()
    if any(track.lessons for track in waiting):
        return "Learning from your points, and placing the landmarks anew …"
    return "Placing the landmarks more exactly …" if waiting else "Almost ready …"


def _review(session: Session) -> str:
    counts = Counter(session.status(point) for track in session.state.values() for point in track.points.values())
    parts = [
        f"{counts[status]} {status}" for status in ("verified", "confident", "uncertain", "absent") if counts[status]
    ]
    found = ", ".join(parts)
    if counts["uncertain"]:
        return f"{found}. Press N for the next uncertain one; drag a point to correct it."
    if counts["confident"]:
        return f"{found}. Look through the planes; drag a point to correct it, then save."
    return f"{found}. Add the next landmark, or save."
