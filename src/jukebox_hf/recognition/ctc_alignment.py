"""When the words of any recording are sung, as a speech recogniser hears it: CTC forced alignment.

Flows in: samples, lyrics, a `CTCRecognizer`. Flows out: `TimedLyrics`, as the prior's own attention gives them too. No
Jukebox is needed. Every word is found, so lyrics must be those of this recording, from its beginning to its end; a word
of low confidence was probably not sung.
"""

from dataclasses import dataclass

import numpy as np

from jukebox_hf.model.alignment.alignment_times import CharacterTimes, TimedLyrics, time_lyrics
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.inputs.audio_input import read_audio
from jukebox_hf.recognition.ctc_alphabet import TokenizedLyrics
from jukebox_hf.recognition.ctc_paths import CTCPath, best_ctc_path, frames_needed
from jukebox_hf.recognition.ctc_recognizer import CTCRecognizer, HeardFrames
from jukebox_hf.recognition.separation import Separator, separated

QUIETEST_SUNG = 1e-4  # -80 dB of full scale, under which nothing is sung
_PICTURE_ROWS = 1200


@dataclass(frozen=True)
class RecordingAlignment:
    """Lyrics in time, and what the times were read from.

    Attributes:
        lyrics: in time.
        picture: (R, C) 0 to 1, how surely each of the C tokens is heard over time, in at most 1200 rows.
    """

    lyrics: TimedLyrics
    picture: np.ndarray


def align_recording(
    recognizer: CTCRecognizer,
    samples: np.ndarray,
    sampling_rate: int,
    lyrics: str,
    *,
    separate: Separator | None = None,
    where: str = "the lyrics",
    what: str = "the recording",
) -> RecordingAlignment:
    """Find out when the words of a recording are sung.

    Args:
        recognizer: hears letters.
        samples: (S,), (channels, S) or (S, channels), as `read_audio` takes them.
        sampling_rate: of the samples.
        lyrics: as typed; headings in brackets are not sung.
        separate: takes samples (S,) and their rate, and gives the singing alone, as many samples at that rate.
        where, what: what to call the lyrics and the recording, for the sentence.

    Raises:
        ValueError: words that the recogniser cannot write, more of them than fit, or a recording of silence; in one
            sentence.
    """
    tokens = recognizer.alphabet.encode(lyrics, where)
    if separate is not None:
        samples = separated(read_audio(samples, sampling_rate), sampling_rate, separate)
    sound = read_audio(samples, recognizer.sampling_rate, source_rate=sampling_rate)
    check_heard(sound, what if separate is None else f"what separate made of {what}")
    heard = recognizer.hear(sound)
    least = frames_needed(tokens.ids)
    require(
        least <= len(heard.seconds),
        f"{where} have {len(tokens.ids):,} letters, for which {recognizer.name} needs {least:,} frames, but it "
        f"hears {len(heard.seconds):,} in {len(sound) / recognizer.sampling_rate:.1f} s; give the words of "
        f"this recording alone",
    )
    path = best_ctc_path(heard.log_probs, tokens.ids, recognizer.blank)
    seconds = len(sound) / recognizer.sampling_rate
    times = _character_times(tokens, path, heard, seconds)
    return RecordingAlignment(time_lyrics(lyrics, times, seconds), _picture(heard, tokens))


def check_heard(samples: np.ndarray, what: str) -> None:
    """Refuse silence.

    Raises:
        ValueError: in one sentence.
    """
    loudest = float(np.abs(samples).max(initial=0.0))
    require(
        loudest > QUIETEST_SUNG,
        f"{what} is silent (its loudest sample is {loudest:.1g} of full scale), so no word can be found; give one with "
        f"singing in it",
    )


def _character_times(tokens: TokenizedLyrics, path: CTCPath, heard: HeardFrames, seconds: float) -> CharacterTimes:
    """Times of typed characters; those of one token share its time evenly."""
    edges = heard.edges(seconds)
    offsets, starts, ends, confidences = [], [], [], []
    for token, sources, start, stop in zip(tokens.ids, tokens.sources, path.starts, path.stops, strict=True):
        shares = np.linspace(edges[start], edges[stop], len(sources) + 1)
        sure = float(np.exp(heard.log_probs[start:stop, token].mean(dtype=np.float64)))
        offsets += sources
        starts += shares[:-1].tolist()
        ends += shares[1:].tolist()
        confidences += [sure] * len(sources)
    seen = np.ones(len(offsets), bool)
    return CharacterTimes(offsets, np.array(starts), np.array(ends), np.array(confidences), seen, seen)


def _picture(heard: HeardFrames, tokens: TokenizedLyrics) -> np.ndarray:
    """The surest of every stretch of frames, so that its size does not grow with the recording."""
    rows = np.unique(np.linspace(0, len(heard.log_probs), _PICTURE_ROWS + 1).astype(int))[:-1]
    shown = [token for token, sources in zip(tokens.ids, tokens.sources, strict=True) if sources]
    return np.exp(np.maximum.reduceat(heard.log_probs, rows, axis=0))[:, shown]
