"""The sections of the panel, one small widget each."""
