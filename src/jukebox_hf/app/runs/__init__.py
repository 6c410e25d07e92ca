"""Runs of songs: requests planned, sampled, committed; resumed after a crash."""
