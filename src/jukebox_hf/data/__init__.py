"""Audio files and data sets: what stands between disks and networks."""
