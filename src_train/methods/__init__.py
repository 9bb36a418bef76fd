"""Self-supervised methods; ``METHODS`` maps a name to the class that computes its loss terms."""

from __future__ import annotations

from src_train.methods.ld import LocalDiscrimination

METHODS: dict[str, type[LocalDiscrimination]] = {"ld": LocalDiscrimination}
