"""Whole repositories: parts loaded and saved, foreign keys, what goes beside the weights, the tiny model."""
