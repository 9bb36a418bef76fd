"""The only room with windows: the panel, its sections, and what ties them to a napari viewer."""
