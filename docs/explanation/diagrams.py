"""Draw the diagrams of how-jukebox-works.md: `make pages`, or python docs/explanation/diagrams.py.

Which positions attention reads is computed from the words of the grid, where windows lie by the package itself.
"""

from collections.abc import Callable
from pathlib import Path

from drawing import ACCENT, INK, PAPER, SOFT, WARM, arrow, box, cell, picture, words

FOLDER = Path(__file__).parent
ROWS, COLUMNS, READER = 4, 6, 15  # of the grid that is drawn, and who reads in it: row 2, column 3
KINDS: dict[str, Callable[[int, int], bool]] = {  # does position i read position j?
    "dense": lambda i, j: j <= i,
    "row": lambda i, j: i // COLUMNS == j // COLUMNS and j <= i,
    "column": lambda i, j: i % COLUMNS == j % COLUMNS and j <= i,
    "previous_row": lambda i, j: j // COLUMNS == i // COLUMNS - 1,
    "row_ends": lambda i, j: j % COLUMNS == COLUMNS - 1 and j // COLUMNS < ROWS - 1 and j <= i,
    "row_tails": lambda i, j: j % COLUMNS >= COLUMNS - 2 and j // COLUMNS < ROWS - 1 and j <= i,
    "lyrics_prefix": lambda i, j: j < 8 and j <= i,
}


def spine() -> str:
    """The whole way."""
    stations = [
        ("words", "lyrics, artist,\ngenre", "words"),
        ("tokens, labels", "ids, and the\ntime", "words"),
        ("top codes", "344 a second:\nthe composition", "code"),
        ("middle codes", "1378 a second", "code"),
        ("bottom codes", "5512 a second", "code"),
        ("audio", "44,100 samples\na second", "plain"),
    ]
    doers = ["tokenizer", "top prior", "upsampler", "upsampler", "VQ-VAE's\ndecoder"]
    parts = []
    for number, (name, text, fill) in enumerate(stations):
        x = 14 + number * 156
        parts += [words(x + 55, 20, name), box(x, 34, 110, 48, text, fill)]
        if number < len(doers):
            parts.append(arrow(x + 110, 58, x + 155, 58))
            lines = doers[number].split("\n")
            parts += [words(x + 133, 104 + 15 * row, line, color=ACCENT, size=12) for row, line in enumerate(lines)]
    return picture(918, 136, "From words to audio: who writes what", parts)


def vqvae() -> str:
    """Audio to codes and back, level by level."""
    parts = [box(10, 78, 90, 44, "audio"), box(800, 78, 90, 44, "audio again")]
    for row, (level, hop, rate) in enumerate(((2, 128, "344"), (1, 32, "1378"), (0, 8, "5512"))):
        y = 10 + row * 66
        parts += [
            arrow(100, 100, 138, y + 24), box(140, y, 130, 48, f"encoder {level}\n{hop} samples to 1", "net"),
            arrow(270, y + 24, 308, y + 24), box(310, y, 130, 48, "nearest of\n2048 vectors", "plain"),
            arrow(440, y + 24, 478, y + 24), box(480, y, 130, 48, f"codes, level {level}\n{rate} a second", "code"),
            arrow(610, y + 24, 648, y + 24), box(650, y, 110, 48, f"decoder {level}", "net"),
            arrow(760, y + 24, 798, 100),
        ]  # fmt: skip
    return picture(900, 206, "The VQ-VAE: three levels, each with its own encoder, codebook and decoder", parts)


def conditioning() -> str:
    """What a prior is told."""
    told = [
        ("artist", "one of thousands", "words"), ("genre", "one, or up to five added up", "words"),
        ("time", "length, position, share gone by", "words"), ("lyrics", "the next few hundred characters", "words"),
        ("codes above", "upsamplers only", "code"),
    ]  # fmt: skip
    parts = []
    for row, (name, text, fill) in enumerate(told):
        y = 10 + row * 44
        parts += [box(10, y, 110, 34, name, fill), words(130, y + 17, text, "start", size=12)]
        parts.append(arrow(360, y + 17, 428, 117))
    parts += [box(430, 90, 150, 54, "embeddings, added\nto each position", "net"), arrow(580, 117, 618, 117)]
    parts += [box(620, 90, 130, 54, "transformer,\n72 layers or so", "net"), arrow(750, 117, 788, 117)]
    parts += [
        box(790, 90, 110, 54, "2048\nprobabilities", "plain"),
        words(845, 166, "one is drawn:", size=12),
        words(845, 182, "the next code", size=12),
    ]
    return picture(930, 234, "What a prior is told, and what it answers", parts)


def grid() -> str:
    """Which positions one position reads, kind by kind."""
    parts = []
    for number, (name, reads) in enumerate(KINDS.items()):
        left, top = 20 + (number % 4) * 190, 34 + (number // 4) * 150
        parts.append(words(left + 66, top - 16, name))
        for j in range(ROWS * COLUMNS):
            fill = WARM if j == READER else ACCENT if reads(READER, j) else SOFT
            parts.append(cell(left + j % COLUMNS * 22, top + j // COLUMNS * 22, 22, fill, PAPER))
        if reads(READER, READER):
            x, y = left + READER % COLUMNS * 22, top + READER // COLUMNS * 22
            parts.append(cell(x + 6, y + 6, 10, ACCENT, PAPER))
    left, top = 20 + 3 * 190, 34 + 150
    for row, (fill, text) in enumerate(
        ((WARM, "the position that reads"), (ACCENT, "what it reads"), (SOFT, "the rest"))
    ):
        parts += [cell(left, top + row * 26, 16, fill), words(left + 24, top + row * 26 + 8, text, "start", size=12)]
    return picture(780, 300, "The grid: positions in rows and columns, and what each kind of attention reads", parts)


def windows() -> str:
    """Windows of a song, as they are planned."""
    from jukebox_hf.model.songs.windows import plan_windows

    total, length, hop = 26, 8, 4
    parts, known = [], 0
    for row, window in enumerate(plan_windows(total, length, hop)):
        y = 30 + row * 24
        codes = range(window.start, window.stop)
        parts += [cell(120 + code * 22, y, 20, SOFT if code < known else ACCENT, INK) for code in codes]
        parts.append(words(110, y + 10, f"window {row + 1}", "end", size=12))
        known = window.stop
    below = 30 + (row + 1) * 24 + 16
    parts += [cell(120, below, 16, SOFT), words(142, below + 8, "known, read again", "start", size=12)]
    parts += [cell(300, below, 16, ACCENT), words(322, below + 8, "new, drawn one after the other", "start", size=12)]
    parts.append(words(120, 14, f"a song of {total} codes, windows of {length}, hop {hop}", "start", size=12))
    return picture(710, below + 32, "A song is longer than a window: windows overlap", parts)


def upsampler() -> str:
    """How codes above become codes below."""
    parts = [words(100, 38, "codes above", "end", size=12), words(100, 188, "codes below", "end", size=12)]
    for code in range(6):
        parts += [cell(120 + code * 96, 22, 32, "#ccfbf1"), arrow(136 + code * 96, 54, 136 + code * 96, 78)]
    parts.append(box(110, 80, 560, 34, "dilated convolutions, then strided ones: a vector for each code below", "net"))
    for code in range(24):
        parts += [
            arrow(129 + code * 24, 114, 129 + code * 24, 170),
            cell(120 + code * 24, 172, 18, ACCENT if code < 14 else PAPER),
        ]
    parts.append(
        words(
            390,
            210,
            "written one after the other, each hearing the codes above on both sides, and those before",
            size=12,
        )
    )
    return picture(710, 226, "An upsampler writes four codes for each code above", parts)


def alignment() -> str:
    """Attention over lyrics, and the path through it."""
    text, parts = "row row row your", []
    path = [0, 0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 8, 9, 10, 11, 12, 12, 13, 14, 15, 15]
    for code, character in enumerate(path):
        for place in range(len(text)):
            distance = abs(place - character)
            fill = WARM if distance == 0 else "#fed7aa" if distance == 1 else SOFT
            parts.append(cell(120 + code * 22, 24 + place * 16, 16, fill, PAPER))
    parts += [words(108, 32 + place * 16, letter, size=12) for place, letter in enumerate(text) if letter != " "]
    bottom = 24 + len(text) * 16
    parts += [
        arrow(120, bottom + 14, 120 + len(path) * 22, bottom + 14),
        words(350, bottom + 32, "time, in codes of the top level"),
    ]
    return picture(610, bottom + 48, "Where the lyrics are looked at while the song is written", parts)


DIAGRAMS = {
    "jukebox-spine": spine, "jukebox-vqvae": vqvae, "jukebox-conditioning": conditioning, "jukebox-grid": grid,
    "jukebox-windows": windows, "jukebox-upsampler": upsampler, "jukebox-alignment": alignment,
}  # fmt: skip

if __name__ == "__main__":
    for name, draw in DIAGRAMS.items():
        (FOLDER / f"{name}.svg").write_text(draw(), encoding="utf-8")
