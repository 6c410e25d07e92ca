"""The networks of Jukebox, and everything that must travel with their weights.

Rooms, top to bottom (docs/explanation/architecture.md has the files): alignment and checkpoints; songs; sampling;
networks and inputs; files; configuration; checks. Files import only each other, downwards, torch, numpy, transformers
and what transformers itself requires, so that they also run alone as Hub remote code, for which an export lays them
into one folder. Nothing here knows the command line, training or conversion.

Levels, as in the paper (Dhariwal et al. 2020, section 3): 0 is the bottom, finest; the highest is the top, coarsest.

    level   hop (samples)   codes per second at 44.1 kHz   written by
      2         128                 344.5                  the top prior, from lyrics, artist, genre and timing
      1          32                1378.1                  an upsampler, from the codes of level 2
      0           8                5512.5                  an upsampler, from the codes of level 1

The grid: T positions are R rows of L columns; position i sits at row i // L, column i % L. All attention kinds are one
picture (networks/attention_kinds.py):

    columns 0 .. L-1     dense          every j <= i
  r0  . . . . . .        row            same row, j <= i
  r1  a a a a a a        previous_row   the whole row above; row 0 has nothing
  r2  b b [i]            column         same column, j <= i
                         row_ends       last column of rows 0..R-2 at positions <= i, and one null key
                         row_tails      last columns of rows 0..R-2 likewise, and as many null keys
                         lyrics_prefix  the first P positions, j <= i
                         lyrics_cross   the lyric encoder's positions

Shape alphabet: B songs, S samples, C channels, T codes at this level, U codes one level up, D width, H heads, E head
width, K codebook size, N lyric characters, G genres, R rows, L columns, P prefix.
"""
