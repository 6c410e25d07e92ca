"""When each character, word and line is sung: attention of the lyrics, and the best path through it."""
