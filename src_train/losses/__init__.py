"""Loss terms, one per file; each docstring gives equation, shapes and source."""
