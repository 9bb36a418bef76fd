"""``napari-ld session replay``: the masks of a saved session, without a window, an encoder or the image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_ld.cli.options import Overwrite, check_output
from napari_ld.errors import StorageError

Saved = Annotated[
    Path, typer.Argument(metavar="SESSION", help="A session (*.jsonl), or the folder of the sessions of one image.")
]


def replay(
    session: Saved,
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="MASKS", help="Label file to write: .tif, .nii.gz or .nrrd.")
    ],
    table: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Also write a table of all regions and their decisions.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Do again what was accepted, rejected and painted in SESSION, and write the masks.

    They are those of the panel, pixel by pixel. How the annotation went is printed.
    """
    from napari_ld.io.labels import write_labels
    from napari_ld.proposals.table import write_regions
    from napari_ld.session.log import read_image, read_log
    from napari_ld.session.replay import replay as play

    log = _log_in(session)
    for path in [path for path in (out, table) if path is not None]:
        check_output(path, [log], overwrite=overwrite)
    image = read_image(log)
    if image is None:
        raise StorageError(f"{log} holds no regions: it was written before regions could be reviewed")
    book = play(read_log(log), log).regions
    write_labels(out, book.masks(image), image)
    if table is not None:
        write_regions(table, [("", image, book.present())])
    print(book.statistics.text)


def _log_in(path: Path) -> Path:
    """The session itself, or the newest one in a folder of sessions."""
    if not path.is_dir():
        return path
    logs = sorted(path.glob("*.jsonl"), key=lambda log: log.stat().st_mtime)
    if not logs:
        below = len(list(path.glob("*/*.jsonl")))
        hint = (
            f"{below} lie in folders below it, one for each image: name one of these" if below else "name another one"
        )
        raise StorageError(f"no session (*.jsonl) in {path}; {hint}")
    return logs[-1]
