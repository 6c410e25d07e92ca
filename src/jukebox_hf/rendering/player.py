"""The karaoke player: one HTML file that plays a song and lights its lyrics up, offline, from any folder.

Flows in: timed lyrics, the bytes of an audio file, attention, samples. Flows out: a page. It may load nothing and run
nothing but its own script (Content-Security-Policy by digest), and lyrics reach it only as data that the script sets as
text; so whatever the lyrics are, they are lyrics.
"""

import base64
import hashlib
import html
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from jukebox_hf.model.alignment.alignment_times import TimedLyrics
from jukebox_hf.model.checks.text_input import without_controls
from jukebox_hf.rendering.picture import DECIBELS, spectrogram
from jukebox_hf.rendering.player_page import SCRIPT, STYLE
from jukebox_hf.rendering.png import heat_png, shrunk

AUDIO_TYPES = {".wav": "audio/wav", ".flac": "audio/flac", ".mp3": "audio/mpeg", ".ogg": "audio/ogg"}
AUDIO_TYPES |= {".opus": "audio/ogg", ".m4a": "audio/mp4", ".aac": "audio/aac"}
_WIDTH, _HEIGHT = 1200, 300


def write_player(
    lyrics: TimedLyrics,
    audio: bytes,
    audio_type: str,
    *,
    samples: np.ndarray,
    attention: np.ndarray | None = None,
    title: str = "",
    note: str = "",
) -> str:
    """Make the page.

    Args:
        lyrics: in time.
        audio: a whole audio file, which is embedded.
        audio_type: one of `AUDIO_TYPES`' values.
        samples: (S,) the same sound, for the spectrogram.
        attention: (T, C) of the alignment head, for the heat map.
        title, note: for people; shown as they are.

    Raises:
        ValueError: an audio type that browsers do not play.
    """
    if audio_type not in AUDIO_TYPES.values():
        raise ValueError(f"audio_type={audio_type!r} is none of {', '.join(AUDIO_TYPES.values())}; convert the audio")
    pictures = [("Spectrogram", heat_png(spectrogram(samples, _WIDTH)[0][::-1] / DECIBELS + 1))]
    if attention is not None and attention.size:
        pictures.append(("Attention: time to the right, lyrics downwards", heat_png(_attention_picture(attention))))
    policy = (
        f"default-src 'none'; script-src '{_digest(SCRIPT)}'; style-src '{_digest(STYLE)}'; img-src data:; "
        f"media-src data:; base-uri 'none'; form-action 'none'"
    )
    title, note = without_controls(title), without_controls(note)
    figures = "\n".join(
        f'<figure><div class="picture"><img alt="{html.escape(name)}" src="{_data("image/png", content)}"><i></i></div>'
        f"<figcaption>{html.escape(name)}</figcaption></figure>"
        for name, content in pictures
    )
    return f"""<!DOCTYPE html>
<html lang="und">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<header><h1>{html.escape(title)}</h1><p>{html.escape(note)}</p></header>
<div class="top">
<audio controls src="{_data(audio_type, audio)}"></audio>
{figures}
</div>
<div id="lyrics"></div>
</main>
<script type="application/json" id="song">{_json_in_html(_what_the_script_reads(lyrics))}</script>
<script>{SCRIPT}</script>
</body>
</html>
"""


def _what_the_script_reads(lyrics: TimedLyrics) -> dict[str, Any]:
    lines = lyrics.to_dict()["lines"]
    for each in (*lines, *(word for line in lines for word in line["words"])):
        each["text"] = without_controls(each["text"])
    return {"seconds": max(lyrics.seconds, 1e-3), "lines": lines}


def _attention_picture(attention: np.ndarray) -> np.ndarray:
    """Characters downwards, time to the right; the brightest is as bright as can be."""
    picture = shrunk(np.asarray(attention, np.float32).T, _HEIGHT, _WIDTH)
    return np.sqrt(picture / max(float(picture.max()), 1e-9))


def _json_in_html(content: Mapping[str, Any]) -> str:
    """JSON in which nothing can end a script element or begin a comment."""
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
