"""Files in, values out: images, landmarks and label maps. No window, no napari."""
