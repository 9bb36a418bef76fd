"""Backbones of the dense encoders, one per file."""
