"""What a weights file means: networks, intensity normalisation, files and the table of bundled models."""
