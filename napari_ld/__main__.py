"""``python -m napari_ld`` is the command ``napari-ld``."""

import sys

from napari_ld.cli import main

sys.exit(main())
