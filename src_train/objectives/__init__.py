"""Objectives: what a loss needs of a step and how it is wired, one kind per file."""
