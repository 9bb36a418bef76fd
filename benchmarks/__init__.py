"""Benchmarks of napari-ld: accuracy of one-click landmarks, speed and memory; see README.md in this folder."""
