"""Checkpoints of other implementations to and from ours; the only place that speaks both languages."""
