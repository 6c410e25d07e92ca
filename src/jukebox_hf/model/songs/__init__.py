"""How a song is written: what is wanted, its plan of windows, its state, level after level."""
