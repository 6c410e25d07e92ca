"""Recordings to features for research: hidden states of a prior's layers, codes and code vectors."""
