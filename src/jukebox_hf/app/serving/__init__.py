"""A server of songs: requests checked, queued, sampled level by level in batches, sent while they are written."""
