"""Self-supervised training of dense encoders: headless, alone, without Qt. Start it with ``python -m src_train``."""
