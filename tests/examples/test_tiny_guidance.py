"""What guidance does to the tiny model's clips is measured row by row, and a table and a picture tell it."""

import json

import pytest

from examples.tiny import guidance
from jukebox_hf import SamplingSettings

HEARD = {"genre": 0.9, "artist": 0.8, "vowels": 0.7, "picked": 1.0, "loudness": 0.1, "beyond": 0.0}


def _row(clips, kind, scale, count=10, **changes):
    return {"clips": clips, "kind": kind, "scale": scale, "count": count, **HEARD, "codes": 0.5, **changes}


@pytest.mark.parametrize(
    ("word", "settings"),
    [
        ("off", SamplingSettings()),
        ("both=2", SamplingSettings(guidance_scale=2)),
        ("labels=1.5", SamplingSettings(guidance_scale=1.5, guidance_on="labels")),
        ("double=3", SamplingSettings(guidance_scale=3, lyrics_guidance=3)),
    ],
)
def test_a_word_says_how_clips_are_guided(word, settings):
    assert SamplingSettings(**guidance.setting_of(word)[2]) == settings


def test_another_word_is_refused():
    with pytest.raises(ValueError, match="'loud=2' is none of off, labels=2, lyrics=2"):
        guidance.setting_of("loud=2")


def test_rows_that_are_there_are_not_measured_again_and_all_are_told(tmp_path, monkeypatch, capsys):
    asked = []

    def measure(networks, train, unseen, level, count, settings):
        asked.append((level, count, [one[0] for one in settings]))
        yield from (_row("top" if level else "final", kind, scale, count) for kind, scale, _ in settings)

    class Networks:
        top = 2

        class vqvae:  # noqa: N801
            class config:  # noqa: N801
                hop_lengths = (1, 2)

    monkeypatch.setattr(guidance, "measure", measure)
    monkeypatch.setattr(guidance, "open_repository", lambda model: Networks)
    monkeypatch.setattr(guidance, "open_recordings", lambda *_: type("Songs", (), {"sung": lambda self: self})())
    (tmp_path / "guidance.json").write_text(json.dumps([_row("top", "off", 1.0), _row("top", "both", 2.0, 9)]))
    words = ["--run", str(tmp_path), "--clips", "10", "--final", "0", "--guided", "off", "both=2"]
    assert guidance.main(words) == 0
    assert asked == [(2, 10, ["both"])], "of as many clips"
    table = capsys.readouterr().out
    assert "| top | off | 1 | 90.0 | 80.0 | 70.0 | 100.0 | 50.0 | 0.100 |" in table
    assert "| top | both | 2 | 90.0" in table
    assert (tmp_path / "guidance.png").stat().st_size > 1000
