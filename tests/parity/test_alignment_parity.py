"""Attention of the alignment head over whole songs, per window and assembled, against the original's."""

import pytest
import torch
import torch.nn.functional as F

from jukebox_hf.model.alignment.alignment import align_song, window_attention
from jukebox_hf.model.inputs.labels import LevelLabels
from jukebox_hf.model.inputs.lyric_characters import lyric_vocabulary
from jukebox_hf.model.inputs.lyric_windows import SongTiming
from jukebox_hf.model.songs.windows import Window, plan_windows

CASES = [f"chain_top_{kind}_{size}" for kind in ("single", "sep") for size in ("long", "short")]


def labels_of_song(row, text, config):
    lyrics = lyric_vocabulary("v3").encode(text)
    timing = SongTiming(row[0], row[1], config.window_samples)
    return LevelLabels(config, row[3], tuple(row[4 : 4 + config.max_genres]), lyrics, timing)


@pytest.mark.compares("alignment/{case}", "alignment.*", "hop.*", given=("z_top", "labels_y"))
@pytest.mark.parametrize("case", CASES)
def test_attention_of_a_song_equals_the_recorded_one(case, recording, load_prior):
    facts = recording.facts
    prior = load_prior(facts["checkpoint"].removesuffix(".pth.tar"))
    config = prior.config
    layer, head = facts["alignment_layer"], facts["alignment_head"]
    assert (config.alignment_layer, config.alignment_head) == (layer, head)
    codes, rows = recording.given("z_top"), recording.given("labels_y").tolist()
    length = config.context_length
    windows = plan_windows(codes.shape[1], length, int(facts["hop_fraction_top"] * length))
    assert [window.start for window in windows] == facts["starts"]
    for song, text in enumerate(facts["lyrics"]):
        labels = labels_of_song(rows[song], text, config)
        assert list(labels.lyrics.ids) == facts["full_tokens"][song]
        whole = F.pad(codes[song], (0, max(0, length - codes.shape[1])))  # the original fills up short songs
        for start in facts["starts"]:
            ours = window_attention(prior, whole, labels, Window(start, start + length), {layer: [head]})[layer]
            recording.compare(f"hop.{start}.item.{song}.attn", torch.from_numpy(ours), "alignment")
            columns = torch.from_numpy(labels.window_characters(start * config.hop_length))
            recording.compare(f"hop.{start}.item.{song}.indices", columns, "alignment_columns")
        found = align_song(prior, codes[song], labels, windows=windows)
        recording.compare(f"alignment.{song}", torch.from_numpy(found.attention), "alignment")


@pytest.mark.parametrize("case", CASES)
def test_the_songs_of_a_recording_look_different(case, load_prior):
    """Else the comparison above could not tell one head or one song from another."""
    prior = load_prior(f"chain/checkpoint_{case.rsplit('_', 1)[0]}")
    codes = torch.arange(24) % prior.config.codebook_size
    labels = labels_of_song([44100, 0, 0, 1, 1, -1], "Row, row, row your boat", prior.config)
    first, second = (align_song(prior, codes, labels, layer=prior.config.alignment_layer, head=h) for h in (0, 1))
    assert abs(first.attention - second.attention).max() > 1e-3
