"""Section Encoder: which encoder looks at which image, where it runs, and how far it is."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFrame, QHBoxLayout, QProgressBar, QSizePolicy, QVBoxLayout

from napari_ld._gui.forms import Section, ask_file, button, caption, combo, text_line
from napari_ld._gui.layers import described
from napari_ld.errors import NapariLDError
from napari_ld.io.windows import AS_SHOWN, parse_window, windows_for
from napari_ld.model.own import own_encoders
from napari_ld.model.zoo import DEFAULT_ENCODER, list_models
from napari_ld.session import Session

OPEN_FILE = "open file …"
STACK_KINDS = {
    "images": "each plane is another image or patient: searched everywhere",
    "volume": "planes are ordered slices of one body: neighbours agree, and a landmark may be absent",
    "timelapse": "planes are moments of one scene: landmarks are tracked, and may be hidden for a while",
}


class EncoderSection(Section):
    """Choice of encoder, image and stack kind; progress of the embedding.

    Attributes
    ----------
    image_chosen : Signal(int)
        Row of :meth:`set_images` that the person chose.
    embed_wanted, cancel_wanted : Signal()
    sample_wanted : Signal(str)
    window_wanted : Signal(str)
        A CT window, ``"as shown"``, or ``""`` for the encoder's own choice.
    input_wanted : Signal(bool)
        Whether what the encoder gets should be shown.
    """

    image_chosen = Signal(int)
    embed_wanted = Signal()
    cancel_wanted = Signal()
    sample_wanted = Signal(str)
    window_wanted = Signal(str)
    input_wanted = Signal(bool)

    def __init__(self, session: Session, samples: list[str]) -> None:
        super().__init__("Encoder", "encoder")
        self._session = session
        self._samples = samples
        self._input_error = ""
        self._build_choices()
        self._build_samples()
        self._build_found()
        self._build_progress()
        self._fill_encoders()
        self.refresh()

    def _build_choices(self) -> None:
        self.encoders = combo(
            "ld_encoder", "Encoder that recognises structures; your own .safetensors file can be opened"
        )
        self.encoders.setPlaceholderText("open a file")
        self.encoders.activated.connect(self._encoder_chosen)
        self.images = combo("ld_image", "Image layer to put landmarks on")
        self.images.activated.connect(self.image_chosen.emit)
        self.kinds = combo("ld_stack_kind", "How the planes of the stack belong together")
        for kind, meaning in STACK_KINDS.items():
            self.kinds.addItem(kind)
            self.kinds.setItemData(self.kinds.count() - 1, meaning, Qt.ItemDataRole.ToolTipRole)
        self.kinds.activated.connect(lambda row: self._session.choose_stack_kind(self.kinds.itemText(row)))
        self.about = text_line("ld_image_about")
        self.windows = combo("ld_window", "Intensities that the encoder gets as darkest and brightest")
        self.windows.activated.connect(lambda row: self.window_wanted.emit(str(self.windows.itemData(row))))
        self.see = button(
            "See input", "ld_see_input", "Show the plane as the encoder gets it: its size, its intensities", self._see
        )
        self.see.setCheckable(True)
        self.add_row(caption("encoder", self.encoders), self.encoders, stretch=1)
        self.add_row(caption("image", self.images), self.images, caption("kind", self.kinds), self.kinds, stretch=1)
        self.rows.addWidget(self.about)
        self.add_row(caption("window", self.windows), self.windows, self.see, stretch=1)

    def _build_samples(self) -> None:
        self.samples = QFrame()
        self.samples.setObjectName("ld_samples")
        self.samples.setProperty("ldNotice", True)
        box = QVBoxLayout(self.samples)
        box.addWidget(text_line("ld_samples_text", "No image is open. Open one with File ▸ Open, or try a sample:"))
        row = QHBoxLayout()
        for name in self._samples:
            row.addWidget(
                button(
                    name,
                    f"ld_sample_{name}",
                    f"Open the sample {name}",
                    partial(self.sample_wanted.emit, name),
                )
            )
        box.addLayout(row)
        self.rows.addWidget(self.samples)

    def _build_found(self) -> None:
        self.found = QFrame()
        self.found.setObjectName("ld_found")
        self.found.setProperty("ldNotice", True)
        box = QVBoxLayout(self.found)
        self._found_text = text_line("ld_found_text")
        box.addWidget(self._found_text)
        row = QHBoxLayout()
        row.addWidget(button("Restore", "ld_restore", "Bring back landmarks, regions and their history", self._restore))
        row.addWidget(
            button("Start afresh", "ld_afresh", "Leave the earlier work on disk", self._session.dismiss_found)
        )
        row.addStretch(1)
        box.addLayout(row)
        self.rows.addWidget(self.found)

    def _build_progress(self) -> None:
        self.device = text_line("ld_device")
        self.progress = QProgressBar()
        self.progress.setObjectName("ld_progress")
        self.progress.setMinimumWidth(60)
        self.progress.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.progress.setToolTip("Planes the encoder has looked at; kept on disk, so it is done once for each image")
        self.embed = button(
            "Embed all",
            "ld_embed",
            "Let the encoder look at all planes now; otherwise it starts with your first click",
            self.embed_wanted.emit,
            primary=True,
        )
        self.cancel = button("Cancel", "ld_cancel", "Stop the encoder; what is done stays", self.cancel_wanted.emit)
        self.rows.addWidget(self.device)
        self.add_row(self.progress, self.embed, self.cancel, stretch=0)

    def _fill_encoders(self) -> None:
        models = list_models()
        for name, entry in models.items():
            self.encoders.addItem(name, name)
            card = f"{name}: {entry.modality}\nlicence: {entry.licence}\n{entry.citation}"
            self.encoders.setItemData(self.encoders.count() - 1, card, Qt.ItemDataRole.ToolTipRole)
        for name in own_encoders():
            self.encoders.addItem(name, name)
        self.encoders.addItem(OPEN_FILE, OPEN_FILE)
        wanted = self._session.encoder or (DEFAULT_ENCODER if DEFAULT_ENCODER in models else next(iter(models), ""))
        if wanted and self.encoders.findData(wanted) < 0:
            self._insert_file(wanted)
        self._session.choose_encoder(wanted)
        self._show_encoder()

    def list_own(self) -> None:
        """Offer the person's encoders as they are now; the one in use stays."""
        bundled = list_models()
        for row in reversed(range(self.encoders.count())):
            name = str(self.encoders.itemData(row))
            # A path has a folder, a name has none.
            if name not in (*bundled, OPEN_FILE, self._session.encoder) and Path(name).name == name:
                self.encoders.removeItem(row)
        for name in own_encoders():
            if self.encoders.findData(name) < 0:
                self._insert_file(name)
        self._show_encoder()

    def _insert_file(self, path: str) -> None:
        row = self.encoders.count() - 1
        self.encoders.insertItem(row, Path(path).name, path)
        self.encoders.setItemData(row, path, Qt.ItemDataRole.ToolTipRole)

    def _show_encoder(self) -> None:
        self.encoders.setCurrentIndex(self.encoders.findData(self._session.encoder))

    def _encoder_chosen(self, row: int) -> None:
        if self.encoders.itemData(row) != OPEN_FILE:
            self._session.choose_encoder(str(self.encoders.itemData(row)))
            return
        self._show_encoder()
        ask_file(self, "ld_encoder_dialog", "Open an encoder", "LD encoders (*.safetensors)", self.use_file)

    def use_file(self, path: str) -> None:
        """Add a person's own weights file to the choice and use it."""
        if self.encoders.findData(path) < 0:
            self._insert_file(path)
        self._session.choose_encoder(path)
        self._show_encoder()

    def _restore(self) -> None:
        try:
            self._session.restore()
            self.show_error("")
        except NapariLDError as error:
            self.show_error(str(error))

    def _see(self) -> None:
        self.input_wanted.emit(self.see.isChecked())

    def show_input(self, on: bool) -> None:
        """Show whether what the encoder gets is shown."""
        self.see.setChecked(on)

    def show_input_error(self, text: str) -> None:
        """Say why what the encoder gets cannot be shown; ``""``: it can."""
        self._input_error = text
        self.refresh()

    def set_images(self, names: list[str], current: int) -> None:
        """List the image layers; -1: none is chosen."""
        self.images.clear()
        self.images.addItems(names)
        self.images.setCurrentIndex(current)
        self.images.setEnabled(bool(names))

    def refresh(self) -> None:
        """Show the session as it is."""
        session, work = self._session, self._session.work
        self.about.setVisible(session.image is not None)
        self.about.setText(described(session.image) if session.image else "")
        self.samples.setVisible(session.image is None)
        self.kinds.setCurrentText(session.stack_kind)
        self.kinds.setEnabled(session.n_planes > 1)
        self.device.setText(work.reason or "device: chosen when the encoder loads")
        self.device.setToolTip(f"{work.device}: {work.reason}" if work.device else "Starts with your first click")
        self.see.setEnabled(session.image is not None and bool(session.encoder))
        self._show_windows()
        self._show_progress()
        found = session.found
        self.found.setVisible(found is not None)
        if found is not None:
            when = time.strftime("%d %B, %H:%M", time.localtime(found.saved))
            marks = "1 landmark" if found.landmarks == 1 else f"{found.landmarks} landmarks"
            regions = f"; {found.decided} regions decided" if found.decided else ""
            self._found_text.setText(
                f"Earlier work on this image: {marks}, {found.verified} verified{regions} ({when})."
            )
        self.show_error(work.error or session.autosave_error or self._input_error)

    def _show_windows(self) -> None:
        session, image = self._session, self._session.image
        offered = {"automatic": ("", "robust limits of the pixels, which suit MR and photographs")}
        if image is not None and not image.has_channels:
            offered[AS_SHOWN] = (AS_SHOWN, "the contrast limits of the layer, as they are when this is chosen")
            for name in windows_for(image):
                low, high = parse_window(name)
                offered[name] = (name, f"{low:g} to {high:g} HU; for CT")
        if list(offered) != [self.windows.itemText(row) for row in range(self.windows.count())]:
            self.windows.clear()
            for name, (value, tip) in offered.items():
                self.windows.addItem(name, value)
                self.windows.setItemData(self.windows.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        chosen = session.window or "automatic"
        self.windows.setCurrentText(chosen if chosen in offered else AS_SHOWN)
        self.windows.setEnabled(len(offered) > 1)

    def _show_progress(self) -> None:
        session, work = self._session, self._session.work
        total = max(work.total, 1)
        self.progress.setRange(0, total)
        self.progress.setValue(work.embedded)
        done = work.total > 0 and work.embedded >= work.total
        self.progress.setFormat(
            "embedding ready" if done else f"embedding {work.embedded} / {work.total} planes" if work.total else ""
        )
        self.embed.setVisible(not work.running and not done)
        self.embed.setEnabled(session.image is not None and bool(session.encoder))
        self.cancel.setVisible(work.running)
