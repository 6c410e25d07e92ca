"""What speech recognisers of others hear in a song: where its words are, and which of them can be understood."""
