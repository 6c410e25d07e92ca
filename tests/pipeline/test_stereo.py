"""Stereo: the finer levels are written a second time, and what differs becomes the sides of a mono song that stays."""

import pytest
import torch
from transformers import pipeline

from jukebox_hf import JukeboxModel
from jukebox_hf.model.songs import stereo
from jukebox_hf.model.songs.song import SongBatch
from jukebox_hf.model.songs.song_plan import plan_song
from jukebox_hf.model.songs.song_state import SongState
from jukebox_hf.model.songs.stereo import second_batch, stereo_of

WORDS = {"artist": "the testers", "genre": "soft rock"}
DRAWS = {"seconds": 0.02, "temperature": 4.0}


@pytest.fixture(scope="module")
def model(repository):
    """The tiny model, made quiet: there is room under full scale."""
    model = JukeboxModel.from_pretrained(repository, keep_loaded=True)
    for decoder in model.vqvae.decoders:
        decoder.out.weight.data.mul_(0.1)
        decoder.out.bias.data.mul_(0.1)
    return model


@pytest.fixture(scope="module")
def inputs(processor):
    return processor(["Here I am, a song of words", "There you are"], **WORDS, seed=5)


@pytest.fixture(scope="module")
def mono(model, inputs):
    return model.generate(inputs, return_codes=True, **DRAWS)


@pytest.fixture(scope="module")
def wide(model, inputs):
    return model.generate(inputs, stereo=True, return_codes=True, **DRAWS)


def test_the_middle_is_the_mono_song(mono, wide, same):
    assert same(mono, wide)
    assert wide.audio.shape == (2, 2, mono.audio.shape[1])
    assert torch.equal(wide.audio_lengths, mono.audio_lengths)
    assert (wide.audio.mean(dim=1) - mono.audio).abs().max() < 1e-6
    assert mono.correlation is None


def test_the_sides_are_the_second_sound_of_the_same_top_codes(model, processor, mono, wide):
    """Written anew here, by upsampling under the seeds of the second time."""
    nothing = torch.zeros(0, dtype=torch.long)
    for song, lyrics in enumerate(("Here I am, a song of words", "There you are")):
        top = SongState(((nothing,), (nothing,), (mono.codes[2][song],)), (5 + song + 2**62,))
        again = model.generate(processor(lyrics, **WORDS), codes=top, levels=[1, 0], temperature=4.0)
        assert not torch.equal(again.audio[0], mono.audio[song]), "another seed, another sound"
        wanted = stereo_of(mono.audio[song], again.audio[0])
        assert torch.equal(wide.audio[song], wanted.audio)
        assert wide.correlation[song].item() == pytest.approx(wanted.correlation)
        left, right = wide.audio[song]
        found = float((left @ right) / (left.norm() * right.norm()))
        assert found == pytest.approx(wanted.correlation, abs=1e-4)
        assert found < 0.999


def test_what_was_given_has_no_sides(model, processor, sound, monkeypatch):
    monkeypatch.setattr(stereo, "_AROUND", 50)
    inputs = processor("Here I am", **WORDS, prompt=(sound(0.02), 44100), seed=5)
    left, right = model.generate(inputs, stereo=True, seconds=0.04, temperature=4.0).audio[0]
    assert (left - right)[:200].abs().max() < 1e-6
    assert (left - right)[1000:].abs().max() > 1e-3


def test_what_both_share_is_in_the_middle():
    generator = torch.Generator().manual_seed(0)
    song, other = torch.randn(2, 12000, generator=generator) * 0.1
    other[:6000] = song[:6000]
    left, right = stereo_of(song, other).audio
    assert (left - right)[:3900].abs().max() < 1e-6
    one, two = (sound[8000 - 2048 : 8000 + 2049] for sound in (song, other))
    share = (one @ two) / one.square().sum()
    assert (left - right)[8000].item() == pytest.approx((other[8000] - share * song[8000]).item(), abs=1e-5)
    half = stereo_of(song, 0.5 * song)
    assert (half.audio[0] - half.audio[1]).abs().max() < 1e-6, "the same sound, only quieter"


def test_takes_and_upsampled_songs_are_widened(model, inputs, mono):
    taken = model.generate(inputs, stereo=True, takes=2, keep=2, return_codes=True, **DRAWS)
    plain = model.generate(inputs, takes=2, keep=2, **DRAWS)
    assert (taken.audio.mean(dim=1) - plain.audio).abs().max() < 1e-6
    assert taken.correlation.shape == (4,)
    refined = model.generate(inputs, codes={2: mono.codes[2]}, levels=[1, 0], stereo=True, temperature=4.0)
    assert (refined.audio.mean(dim=1) - mono.audio).abs().max() < 1e-6
    assert refined.correlation.max() < 0.999


def test_shorter_songs_of_a_batch_are_padded(model, processor):
    inputs = processor([{"lyrics": "a", "seconds": 0.02}, {"lyrics": "b", "seconds": 0.04}], **WORDS)
    found = model.generate(inputs, stereo=True)
    short, long = found.audio_lengths.tolist()
    assert found.audio.shape == (2, 2, long)
    assert found.audio[0, :, short:].abs().max() == 0


def test_a_pipeline_gives_two_channels_and_their_correlation(model, processor):
    sing = pipeline("text-to-audio", model=model, processor=processor)
    songs = sing(["Here I am", "There"], **WORDS, seconds=0.02, temperature=4.0, stereo=True, seed=3)
    plain = sing("Here I am", **WORDS, seconds=0.02, temperature=4.0, seed=3)
    assert songs[0]["audio"].shape == (2, len(plain["audio"]))
    assert abs(songs[0]["audio"].mean(axis=0) - plain["audio"]).max() < 1e-6
    assert -1 <= songs[1]["correlation"] < 1
    assert "correlation" not in plain


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"levels": [2]}, "stereo writes the levels below the top one, 2, a second time, but levels="),
        ({"stereo": "yes"}, "stereo='yes' must be True or False"),
    ],
)
def test_what_has_no_meaning_is_refused(model, inputs, said, sentence):
    with pytest.raises(ValueError, match="stereo") as refused:
        model.generate(inputs, **{"stereo": True} | said)
    assert sentence in str(refused.value)


def test_streams_and_repaint_refuse_it(model, inputs, processor, mono):
    with pytest.raises(ValueError, match="cannot be streamed"):
        model.stream(inputs, seconds=0.1, stereo=True)
    one = processor("Here I am", **WORDS)
    with pytest.raises(ValueError, match="stereo=True is of generate"):
        model.repaint(one, [level[:1] for level in mono.codes], (0.005, 0.01), stereo=True)


def test_sides_give_way_to_peaks_and_are_as_loud_left_as_right():
    generator = torch.Generator().manual_seed(0)
    song, other = torch.randn(2, 4000, generator=generator) * 0.2
    found = stereo_of(song, other)
    left, right = found.audio.double().square().sum(dim=1)
    assert left.item() == pytest.approx(right.item(), rel=1e-2)
    song[1000], song[2000] = 0.999, 1.3
    peaks = stereo_of(song, other)
    assert (peaks.audio[:, 1000].abs() <= 1).all()
    assert torch.equal(peaks.audio[:, 2000], torch.tensor([1.3, 1.3])), "beyond full scale it stays mono"
    assert (peaks.audio.mean(dim=0) - song).abs().max() < 1e-6
    gain = ((peaks.audio[0] - peaks.audio[1]) / (found.audio[0] - found.audio[1]))[900:2100].abs()
    assert gain.diff().abs().median() < 0.02, "eased, not cut"
    quiet = stereo_of(song.clamp(-0.5, 0.5), other, ceiling=0.5)
    assert quiet.audio.abs().max() <= 0.5


def test_silence_and_equal_sounds_are_mono():
    silence, sound = torch.zeros(99), torch.ones(99)
    assert stereo_of(silence, silence).correlation == 1
    assert stereo_of(sound * 0.1, sound * 0.2).correlation == pytest.approx(1)


def test_the_second_time_keeps_the_top_level_and_what_was_given(model):
    codes = [torch.arange(n) for n in (16, 8, 1)]
    before = SongState(((codes[0][:4],), (codes[1][:0],), (codes[2],)), (9,))
    done = SongState(tuple((level,) for level in codes), (9,))
    batch = SongBatch((0,), plan_song(model.config, 128), ((), (), ()), before)
    second = second_batch(batch, done, 2, [[4], [0], [1]])
    assert [plan.level for plan in second.plan.levels] == [1, 0]
    assert [len(level[0]) for level in second.state.codes] == [4, 0, 1]
    assert second.state.seeds == (9 + 2**62,)
