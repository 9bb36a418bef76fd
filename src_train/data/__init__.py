"""Unlabelled planes and views of them whose geometry is known."""
