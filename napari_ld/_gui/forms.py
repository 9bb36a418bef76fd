"""Small building blocks of the sections: a collapsible frame, buttons and lines of text in napari's colours."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

STYLE = """
QPushButton[ldPrimary="true"] {{ background-color: {current}; color: {on_current}; font-weight: bold; }}
QPushButton[ldPrimary="true"]:disabled {{ background-color: {foreground}; color: {primary}; }}
QToolButton[ldHeader="true"] {{ font-weight: bold; border: none; padding: 1px 0px; text-align: left; }}
QFrame[ldSection="true"] {{ border: none; border-top: 1px solid {foreground}; }}
QLabel[ldQuiet="true"] {{ color: {text}; }}
QLabel[ldError="true"] {{ color: {text}; border-left: 3px solid {error}; padding: 2px 6px; }}
QFrame[ldNotice="true"] {{ border: 1px solid {highlight}; border-radius: 3px; }}
QLabel#ld_status {{ border-top: 1px solid {foreground}; padding: 5px 2px; }}
"""


class Section(QFrame):
    """Collapsible part of the panel with a place for its errors.

    Parameters
    ----------
    title : str
    name : str
        Object names below it start with it.

    Attributes
    ----------
    opened : Signal()
        It was unfolded.
    """

    opened = Signal()

    def __init__(self, title: str, name: str) -> None:
        super().__init__()
        self.setObjectName(f"ld_{name}_section")
        self.setProperty("ldSection", True)
        self.header = QToolButton()
        self.header.setObjectName(f"ld_{name}_header")
        self.header.setText(title)
        self.header.setProperty("ldHeader", True)
        self.header.setCheckable(True)
        self.header.setChecked(True)
        self.header.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.header.setArrowType(Qt.ArrowType.DownArrow)
        self.header.setToolTip(f"Fold or unfold {title.lower()}")
        self.header.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.header.toggled.connect(self._fold)
        self.body = QWidget()
        self.rows = QVBoxLayout(self.body)
        self.rows.setContentsMargins(4, 0, 0, 4)
        self.rows.setSpacing(4)
        self._error = text_line(f"ld_{name}_error")
        self._error.setProperty("ldError", True)
        self._error.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(2, 0, 2, 0)
        layout.setSpacing(1)
        layout.addWidget(self.header)
        layout.addWidget(self._error)
        layout.addWidget(self.body)

    def _fold(self, open_: bool) -> None:
        self.body.setVisible(open_)
        self.header.setArrowType(Qt.ArrowType.DownArrow if open_ else Qt.ArrowType.RightArrow)
        policy = QSizePolicy.Policy.Preferred if open_ else QSizePolicy.Policy.Fixed
        self.setSizePolicy(QSizePolicy.Policy.Preferred, policy)
        if open_:
            self.opened.emit()

    @property
    def is_open(self) -> bool:
        """Whether it is unfolded."""
        return self.header.isChecked()

    def unfold(self, open_: bool) -> None:
        """Unfold or fold it."""
        if open_ != self.is_open:
            self.header.setChecked(open_)

    def show_error(self, text: str) -> None:
        """Say in words what went wrong and what to do, below the title; ``""`` takes it away."""
        self._error.setText(text)
        self._error.setVisible(bool(text))

    def add_row(self, *widgets: QWidget, stretch: int | None = None) -> QHBoxLayout:
        """Put widgets beside each other; ``stretch`` is the index of the one that takes the room."""
        row = row_of(*widgets, stretch=stretch)
        self.rows.addLayout(row)
        return row


def row_of(*widgets: QWidget, stretch: int | None = None) -> QHBoxLayout:
    """Widgets beside each other; ``stretch`` is the index of the one that takes the room."""
    row = QHBoxLayout()
    row.setSpacing(5)
    for index, widget in enumerate(widgets):
        row.addWidget(widget, 1 if index == stretch else 0)
    if stretch is None:
        row.addStretch(1)
    return row


def button(text: str, name: str, tip: str, clicked: Callable[[], object], *, primary: bool = False) -> QPushButton:
    """Push button with a name for tests and a tooltip in plain words."""
    widget = QPushButton(text)
    widget.setObjectName(name)
    widget.setToolTip(tip)
    widget.setAutoDefault(False)
    if primary:
        widget.setProperty("ldPrimary", True)
    widget.clicked.connect(lambda: clicked())
    return widget


def combo(name: str, tip: str) -> QComboBox:
    """Choice that shrinks with the panel instead of widening it."""
    widget = QComboBox()
    widget.setObjectName(name)
    widget.setToolTip(tip)
    widget.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    widget.setMinimumContentsLength(6)
    widget.setMinimumWidth(92)
    widget.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return widget


class TextLine(QLabel):
    """Text that wraps, can be copied, never widens the panel and is never cut off at its lower edge."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.setObjectName(name)
        self.setWordWrap(True)
        self.setProperty("ldQuiet", True)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        policy = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)

    def setText(self, text: str | None) -> None:
        """Show another text."""
        if text != self.text():
            super().setText(text)
            self._claim_height()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Wrap anew."""
        super().resizeEvent(event)
        self._claim_height()

    def _claim_height(self) -> None:
        # A scroll area asks for minimum sizes only, and a wrapped label's own is that of one line.
        self.setMinimumHeight(max(self.heightForWidth(self.width()), 0))


def text_line(name: str, text: str = "") -> TextLine:
    """Wrapped text with a name for tests."""
    return TextLine(name, text)


def caption(text: str, buddy: QWidget) -> QLabel:
    """Word before a control; a click on it focuses the control."""
    label = QLabel(text)
    label.setBuddy(buddy)
    label.setToolTip(buddy.toolTip())
    return label


def ask_file(
    parent: QWidget,
    name: str,
    title: str,
    pattern: str,
    chosen: Callable[[str], None],
) -> QFileDialog:
    """Ask for a file without blocking the window; ``chosen`` is called with its path."""
    dialog = QFileDialog(parent, title, "", pattern)
    dialog.setObjectName(name)
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
    dialog.fileSelected.connect(chosen)
    dialog.open()
    return dialog


def ask_where(
    parent: QWidget,
    name: str,
    title: str,
    formats: Mapping[str, str],
    chosen: Callable[[str], None],
    proposed: str = "",
) -> QFileDialog:
    """Ask where to save without blocking the window; before a file is replaced the dialog asks once more.

    Parameters
    ----------
    parent : QWidget
    name, title : str
    formats : mapping of str to str
        Ending, without the first dot, to what the dialog calls the format; the first is proposed. The ending of the
        chosen format is added to a name that has none.
    chosen : callable
        Called with the path.
    proposed : str
        Path to begin with.
    """
    dialog = QFileDialog(parent, title, "", ";;".join(formats.values()))
    dialog.setObjectName(name)
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
    endings = {text: ending for ending, text in formats.items()}
    dialog.setDefaultSuffix(next(iter(formats)))
    dialog.filterSelected.connect(lambda text: dialog.setDefaultSuffix(endings[text]))
    if proposed:
        dialog.selectFile(proposed)
    dialog.fileSelected.connect(chosen)
    dialog.open()
    return dialog


def ask_folder(parent: QWidget, name: str, title: str, chosen: Callable[[str], None]) -> QFileDialog:
    """Ask for a folder without blocking the window; ``chosen`` is called with its path."""
    dialog = QFileDialog(parent, title)
    dialog.setObjectName(name)
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    dialog.setFileMode(QFileDialog.FileMode.Directory)
    dialog.setOption(QFileDialog.Option.ShowDirsOnly, True)
    dialog.fileSelected.connect(chosen)
    dialog.open()
    return dialog


def fold_button(text: str, name: str, tip: str, content: QWidget) -> QToolButton:
    """Small heading that unfolds ``content``, which begins folded."""
    widget = QToolButton()
    widget.setObjectName(name)
    widget.setText(text)
    widget.setToolTip(tip)
    widget.setCheckable(True)
    widget.setAutoRaise(True)
    widget.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
    widget.setArrowType(Qt.ArrowType.RightArrow)
    content.hide()

    def fold(open_: bool) -> None:
        content.setVisible(open_)
        widget.setArrowType(Qt.ArrowType.DownArrow if open_ else Qt.ArrowType.RightArrow)

    widget.toggled.connect(fold)
    return widget
