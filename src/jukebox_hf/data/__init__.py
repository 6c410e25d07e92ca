"""Audio files and data sets: what stands between disks and networks.

songs (recordings and their words) -> audio_windows or song_streams -> prior_batches; code_shards -> code_windows the
same without audio; synthesis makes songs from a seed; audio_io writes files.
"""

INSTALL_TRAIN = 'pip install "jukebox_hf[train]"'  # the cure where a library for songs or training is missing
