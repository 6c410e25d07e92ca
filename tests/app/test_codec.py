"""`jukebox-hf encode` and `decode` as a codec: blocks of any size, folders, hours, and what codes cost and keep."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from jukebox_hf.app import codec, transcoding
from jukebox_hf.app.codec import decode_blocks, encode_blocks
from jukebox_hf.app.runs import song_folder
from jukebox_hf.app.runs.song_folder import load_codes, save_codes
from jukebox_hf.data.audio_io import write_audio
from jukebox_hf.data.long_audio import write_audio_blocks
from jukebox_hf.model.checks import text_input
from jukebox_hf.model.inputs.audio_input import read_audio, stream_audio
from jukebox_hf.model.networks.audio_losses import spectral_convergence
from jukebox_hf.model.songs.song_state import SongState

RATE = 44100


@pytest.fixture(scope="module")
def sound():
    """Four seconds at the rate of the small VQ-VAE, of 1000 samples per second."""
    time = np.arange(4003) / 1000
    noise = np.random.default_rng(0).normal(0, 0.05, len(time))
    return (0.3 * np.sin(2 * np.pi * 55 * time * (1 + time / 9)) + noise).astype(np.float32)


@pytest.mark.parametrize("measure", [True, False])
def test_codes_do_not_depend_on_blocks(tiny_vqvae, sound, measure):
    vqvae = tiny_vqvae()
    whole = len(sound) // 32 * 32
    wanted = vqvae.encode(torch.from_numpy(sound[:whole])[None, None], chunk_seconds=None).audio_codes
    for arriving, size in ((1, 32), (3, 100), (40, 500), (7, 1 << 18)):
        found = encode_blocks(np.array_split(sound, arriving), vqvae, block_samples=size, measure=measure)
        assert found.samples == whole
        for codes, level in zip(found.codes, wanted, strict=True):
            assert torch.equal(codes, level[0])


def test_sound_does_not_depend_on_blocks(tiny_vqvae, sound, assert_same_but_for_rounding):
    vqvae = tiny_vqvae()
    codes = encode_blocks([sound], vqvae, measure=False).codes
    for level, own in enumerate(codes):
        wanted = vqvae.decode(own[None], level, chunk_seconds=None).audio_values[0, 0]
        found = np.concatenate(list(decode_blocks(own, level, vqvae, block_samples=130)))
        assert_same_but_for_rounding(torch.from_numpy(found), wanted, vqvae)


def test_measures_are_bits_and_the_spectral_convergence_of_what_comes_back(tiny_vqvae, sound):
    vqvae = tiny_vqvae()
    sound = np.tile(sound, 3)  # longer than a frame of the spectrum
    found = encode_blocks([sound], vqvae)
    audio = torch.from_numpy(sound[: found.samples])[None]
    for level, (measures, codes, hop) in enumerate(zip(found.measures, found.codes, (4, 8, 32), strict=True)):
        assert measures.bits_per_second == 1000 / hop * 5  # of 32 codes
        wanted = spectral_convergence(audio, vqvae.decode(codes[None], level).audio_values[0])
        assert measures.spectral_convergence == pytest.approx(wanted.item(), rel=1e-4)
    blocks = encode_blocks([sound], vqvae, block_samples=6000)
    for one, other in zip(found.measures, blocks.measures, strict=True):
        assert one.spectral_convergence == pytest.approx(other.spectral_convergence, rel=0.1)


def test_what_codes_keep_of_silence_is_no_number(tiny_vqvae):
    blocks = [np.zeros(4096, np.float32)]
    assert {one.spectral_convergence for one in encode_blocks(blocks, tiny_vqvae()).measures} == {None}


@pytest.mark.parametrize("rate", [1000, 1600, 8000])
def test_a_stream_of_a_file_is_the_file(tmp_path, rate):
    samples = np.random.default_rng(0).normal(0, 0.1, (rate * 5 + 3, 2)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, rate, subtype="FLOAT")
    pieces = list(stream_audio(tmp_path / "a.wav", 1000))
    assert np.array_equal(np.concatenate(pieces), read_audio(tmp_path / "a.wav", 1000))


def test_codes_written_in_pieces_are_the_same_codes(tmp_path, monkeypatch):
    codes = tuple((torch.randint(0, 99, (count,)),) for count in (400, 100, 0))
    state = SongState(codes, (7,), {"model": "a", "comment": "b"})
    save_codes(state, tmp_path / "whole.safetensors")
    monkeypatch.setattr(song_folder, "_MOST_AT_ONCE", 0)
    save_codes(state, tmp_path / "pieces.safetensors")
    one, other = (load_codes(tmp_path / f"{name}.safetensors") for name in ("whole", "pieces"))
    assert one.notes == other.notes
    for mine, theirs in zip(one.codes, other.codes, strict=True):
        assert torch.equal(mine[0], theirs[0])


@pytest.mark.parametrize("format", ["wav", "flac24"])
@pytest.mark.parametrize("normalize", ["none", "peak"])
def test_a_file_written_in_blocks_is_the_same_file(tmp_path, format, normalize):
    audio = np.random.default_rng(0).normal(0, 0.6, 9000).astype(np.float32)
    path = tmp_path / "a.x"
    one = write_audio(path, audio, 8000, format=format, normalize=normalize, tags={"comment": "c"})
    whole = path.read_bytes()
    blocks = lambda: iter(np.array_split(audio, 7))  # noqa: E731 - what is asked for twice
    two = write_audio_blocks(path, blocks, 8000, format=format, normalize=normalize, tags={"comment": "c"})
    assert np.array_equal(soundfile.read(path)[0], one.samples.astype(np.float64))
    assert (one.num_samples, one.num_clamped, one.sampled_peak) == (two.num_samples, two.num_clamped, two.sampled_peak)
    assert len(path.read_bytes()) == len(whole)


def _songs(folder, count=2):
    folder.mkdir()
    for number in range(count):
        samples = np.random.default_rng(number).normal(0, 0.1, RATE // 4)
        soundfile.write(folder / f"{number}.wav", samples, RATE)
    (folder / "bad.wav").write_bytes(b"no sound at all, but long enough to be read")
    return folder


def test_folders_are_encoded_and_decoded_and_gone_on_with(tmp_path, repository, run_cli):
    songs = _songs(tmp_path / "songs")
    done = run_cli("encode", songs, tmp_path / "codes", "--model", repository, "--json")
    found = json.loads(done.out)
    assert (done.code, found["written"], list(found["skipped"])) == (0, 2, ["bad.wav"])
    one = run_cli("encode", songs / "0.wav", tmp_path / "0.safetensors", "--model", repository)
    assert "level 0: " in one.out
    assert "kbit/s, spectral convergence " in one.out
    for mine, theirs in zip(
        load_codes(tmp_path / "0.safetensors").codes,
        load_codes(tmp_path / "codes/0.wav.codes.safetensors").codes,
        strict=True,
    ):
        assert torch.equal(mine[0], theirs[0])
    (tmp_path / "codes/0.wav.codes.safetensors").unlink()
    again = run_cli("encode", songs, tmp_path / "codes", "--model", repository, "--no-measure")
    assert again.out.splitlines()[-1] == f"{tmp_path / 'codes'}: codes of 1 written now, 1 there already, 1 skipped"
    back = json.loads(run_cli("decode", tmp_path / "codes", tmp_path / "back", "--level", 1, "--json").out)
    assert [file["level"] for file in back["files"]] == [1, 1]
    assert sorted(path.name for path in (tmp_path / "back").iterdir()) == ["0.wav.wav", "1.wav.wav"]


def test_all_codes_of_a_folder_are_decoded_whatever_they_are_called(tmp_path, repository, run_cli):
    songs, codes = _songs(tmp_path / "songs", 1), tmp_path / "codes"
    run_cli("encode", songs / "0.wav", codes / "0.safetensors", "--model", repository, "--no-measure")
    for name in ("0.codes.safetensors", "a/b.safetensors", "c.partial/state.safetensors"):
        (codes / name).parent.mkdir(exist_ok=True)
        (codes / name).write_bytes((codes / "0.safetensors").read_bytes())
    (codes / "weights.safetensors").write_bytes((repository / "vqvae" / "model.safetensors").read_bytes())
    back = json.loads(run_cli("decode", codes, tmp_path / "back", "--json").out)
    assert (back["written"], back["skipped"]) == (3, {})
    written = sorted(path.relative_to(tmp_path / "back").as_posix() for path in (tmp_path / "back").rglob("*.wav"))
    assert written == ["0.safetensors.wav", "0.wav", "a/b.wav"]
    done = run_cli("decode", codes / "c.partial", tmp_path / "back")
    assert (done.code, "holds no .safetensors with codes" in done.err) == (2, True)
    (codes / "c.partial" / "kept").mkdir()
    (codes / "0.safetensors").rename(codes / "c.partial" / "kept" / "0.safetensors")
    assert json.loads(run_cli("decode", codes / "c.partial" / "kept", tmp_path / "kept", "--json").out)["written"] == 1


def test_long_sound_is_decoded_in_blocks_to_the_same_file(tmp_path, repository, run_cli, monkeypatch):
    songs = _songs(tmp_path / "songs", 1)
    run_cli("encode", songs / "0.wav", tmp_path / "0.safetensors", "--model", repository)
    run_cli("decode", tmp_path / "0.safetensors", tmp_path / "whole.wav", "--normalize", "peak")
    monkeypatch.setattr(transcoding, "_LONG_SECONDS", 0.01)
    monkeypatch.setattr(codec.decode_blocks, "__kwdefaults__", {"block_samples": 2048})
    done = run_cli("decode", tmp_path / "0.safetensors", tmp_path / "long.wav", "--normalize", "peak")
    assert "kbit/s" in done.out
    one, other = (soundfile.read(tmp_path / f"{name}.wav", dtype="int16")[0] for name in ("whole", "long"))
    assert np.abs(one.astype(int) - other).max() <= 1


@pytest.mark.parametrize(
    ("seconds", "sentence"), [(0.0, "holds no samples"), (0.001, "shorter than the 128 samples of one code")]
)
def test_sound_without_a_code_is_refused(tmp_path, repository, run_cli, seconds, sentence):
    soundfile.write(tmp_path / "a.wav", np.zeros(round(seconds * RATE), np.float32), RATE)
    done = run_cli("encode", tmp_path / "a.wav", tmp_path / "a.safetensors", "--model", repository)
    assert done.code == 2
    assert sentence in done.err
    assert not (tmp_path / "a.safetensors").exists()


def test_codes_of_a_recording_that_was_changed_are_written_anew(tmp_path, repository, run_cli):
    songs, codes = _songs(tmp_path / "songs"), tmp_path / "codes"
    encode = ("encode", songs, codes, "--model", repository, "--no-measure")
    run_cli(*encode)
    kept = (codes / "0.wav.codes.safetensors").read_bytes()
    os.utime(songs / "0.wav")  # copied again, as it were
    soundfile.write(songs / "1.wav", np.random.default_rng(9).normal(0, 0.1, RATE // 4), RATE)
    done = run_cli(*encode)
    told = "codes of 1 written now (1 anew, as they were changed), 1 there already, 1 skipped"
    assert (done.code, done.out.splitlines()[-1]) == (0, f"{codes}: {told}")
    assert (codes / "0.wav.codes.safetensors").read_bytes() == kept
    run_cli("encode", songs / "1.wav", tmp_path / "1.safetensors", "--model", repository, "--no-measure")
    one, other = load_codes(codes / "1.wav.codes.safetensors"), load_codes(tmp_path / "1.safetensors")
    assert all(torch.equal(mine[0], theirs[0]) for mine, theirs in zip(one.codes, other.codes, strict=True))
    again = json.loads(run_cli(*encode, "--json").out)
    assert [again[name] for name in ("written", "changed", "there")] == [0, 0, 2]


def test_codes_that_tell_nothing_of_a_recording_and_damaged_ones_are_not_replaced(tmp_path, repository, run_cli):
    songs, codes = _songs(tmp_path / "songs"), tmp_path / "codes"
    encode = ("encode", songs, codes, "--model", repository, "--no-measure")
    run_cli(*encode)
    own, damaged = (codes / f"{name}.wav.codes.safetensors" for name in "01")
    state = load_codes(own)
    save_codes(replace(state, notes={"model": "mine", "comment": "made by hand"}), own)
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\1")
    there = own.read_bytes(), damaged.read_bytes()
    os.utime(songs / "0.wav")
    done = run_cli(*encode)
    assert (done.code, done.out.splitlines()[-1]) == (0, f"{codes}: codes of 0 written now, 1 there already, 2 skipped")
    assert "cannot be trusted; remove it, to encode the recording anew" in done.out
    assert (own.read_bytes(), damaged.read_bytes()) == there


def test_codes_edited_by_hand_or_of_an_older_version_are_not_replaced_when_their_recording_changes(
    tmp_path, repository, run_cli
):
    songs, codes = _songs(tmp_path / "songs"), tmp_path / "codes"
    encode = ("encode", songs, codes, "--model", repository, "--no-measure")
    run_cli(*encode)
    edited, older = (codes / f"{name}.wav.codes.safetensors" for name in "01")
    state = load_codes(edited)
    save_codes(replace(state, codes=tuple((level[0].flip(0),) for level in state.codes)), edited)
    state = load_codes(older)
    save_codes(replace(state, notes={name: state.notes[name] for name in ("model", "comment", "vqvae")}), older)
    there = edited.read_bytes(), older.read_bytes()
    assert json.loads(run_cli(*encode, "--json").out)["there"] == 2
    for name in "01":
        soundfile.write(songs / f"{name}.wav", np.random.default_rng(9).normal(0, 0.1, RATE // 4), RATE)
    done = run_cli(*encode)
    assert (done.code, done.out.splitlines()[-1]) == (0, f"{codes}: codes of 0 written now, 1 there already, 2 skipped")
    assert f"{edited} was encoded, whose codes may be edited by hand; remove it, to encode the rec" in done.out
    assert (edited.read_bytes(), older.read_bytes()) == there
    assert json.loads(run_cli(*encode, "--force", "--json").out)["written"] == 2


@pytest.mark.parametrize("note", ["recording", "vqvae"])
@pytest.mark.parametrize("text", ["[]", "{bad"])
def test_a_damaged_note_of_one_file_of_codes_stops_no_folder(tmp_path, repository, run_cli, note, text):
    songs, codes = _songs(tmp_path / "songs"), tmp_path / "codes"
    encode = ("encode", songs, codes, "--model", repository, "--no-measure")
    run_cli(*encode)
    damaged = codes / "0.wav.codes.safetensors"
    state = load_codes(damaged)
    save_codes(replace(state, notes=state.notes | {note: text}), damaged)
    (codes / "1.wav.codes.safetensors").unlink()
    done = run_cli(*encode)
    assert (done.code, done.out.splitlines()[-1]) == (0, f"{codes}: codes of 1 written now, 2 skipped")
    assert f"skipped 0.wav: the {note} note in {damaged} " in done.out
    assert "it cannot be relied on; remove it, to encode the recording anew" in done.out


def test_a_folder_holds_codes_of_one_vqvae(tmp_path, repository, run_cli):
    songs, codes = _songs(tmp_path / "songs"), tmp_path / "codes"
    run_cli("encode", songs, codes, "--model", "tiny", "--no-measure")
    (codes / "1.wav.codes.safetensors").unlink()
    there = {path: path.read_bytes() for path in codes.iterdir()}
    done = run_cli("encode", songs, codes, "--model", repository, "--no-measure")
    assert (done.code, {path: path.read_bytes() for path in codes.iterdir()}) == (2, there)
    assert "0.wav.codes.safetensors holds codes of another VQ-VAE" in done.err
    assert "name the model that wrote them, tiny, or another folder for these, or pass --force" in done.err
    assert run_cli("encode", songs, codes, "--model", repository, "--no-measure", "--force").code == 0


def test_a_folder_whose_good_recordings_are_encoded_already_is_no_error(tmp_path, repository, run_cli):
    songs = _songs(tmp_path / "songs", 1)
    done = [run_cli("encode", songs, tmp_path / "codes", "--model", repository, "--no-measure") for _ in range(2)]
    assert [one.code for one in done] == [0, 0]
    assert done[1].out.splitlines()[-1].endswith("codes of 0 written now, 1 there already, 1 skipped")


def test_a_name_too_long_for_its_codes_is_skipped(tmp_path, repository, run_cli, monkeypatch):
    songs = _songs(tmp_path / "songs", 1)
    (songs / "0.wav").rename(songs / f"{'k' * 246}.wav")
    soundfile.write(songs / "z.wav", np.zeros(RATE // 4), RATE)
    found = json.loads(run_cli("encode", songs, tmp_path / "codes", "--model", repository, "--json").out)
    assert (found["written"], len(found["skipped"])) == (1, 2)
    assert "a file's name can have 255 here; shorten it" in found["skipped"][f"{'k' * 246}.wav"]
    (tmp_path / "codes" / "z.wav.codes.safetensors").rename(tmp_path / "codes" / f"{'k' * 240}.safetensors")
    (tmp_path / "codes" / "z.safetensors").write_bytes((tmp_path / "codes" / f"{'k' * 240}.safetensors").read_bytes())
    monkeypatch.setattr(text_input, "MAX_PATH_PART", 240)  # a sound's name is shorter than that of its codes
    found = json.loads(run_cli("decode", tmp_path / "codes", tmp_path / "back", "--json").out)
    assert (found["written"], list(found["skipped"])) == (1, ["k" * 240])


def test_sound_of_other_settings_or_codes_is_not_taken_for_what_is_asked_for(tmp_path, repository, run_cli):
    songs, codes, back = _songs(tmp_path / "songs"), tmp_path / "codes", tmp_path / "back"
    run_cli("encode", songs, codes, "--model", repository, "--no-measure")
    run_cli("decode", codes, back)
    (back / "1.wav.wav").write_bytes((songs / "1.wav").read_bytes())  # somebody's, which tells nothing
    there = {path: path.read_bytes() for path in back.iterdir()}
    again = run_cli("decode", codes, back, "--level", 0)
    assert (again.code, again.out.splitlines()[-1]) == (0, f"{back}: sound of 0 written now, 2 there already")
    for option in (("--level", 1), ("--normalize", "peak"), ("--format", "wav24")):
        done = run_cli("decode", codes, back, *option)
        assert (done.code, "0.wav.wav was decoded from level 0, wav, normalize none, not" in done.err) == (2, True), (
            option
        )
        assert "name another folder, or pass --force" in done.err
    assert {path: path.read_bytes() for path in back.iterdir()} == there
    assert run_cli("decode", codes, back, "--level", 1, "--force").code == 0


def test_sound_of_other_codes_stays_and_the_rest_of_a_folder_is_decoded(tmp_path, repository, run_cli):
    songs, codes, back = _songs(tmp_path / "songs"), tmp_path / "codes", tmp_path / "back"
    run_cli("encode", songs, codes, "--model", repository, "--no-measure")
    run_cli("decode", codes, back, "--format", "flac")
    one, other = back / "0.wav.flac", back / "1.wav.flac"
    soundfile.write(songs / "0.wav", np.random.default_rng(9).normal(0, 0.1, RATE // 4), RATE)
    run_cli("encode", songs, codes, "--model", repository, "--no-measure")
    there = one.read_bytes()
    other.unlink()
    done = run_cli("decode", codes, back, "--format", "flac")
    told = f"{one} was decoded from other codes than are in {codes / '0.wav.codes.safetensors'} now; remove it, to"
    assert (done.code, told in done.out, one.read_bytes() == there) == (0, True, True)
    assert done.out.splitlines()[-1] == f"{back}: sound of 1 written now, 1 skipped"
    one.unlink()
    assert (
        run_cli("decode", codes, back, "--format", "flac")
        .out.splitlines()[-1]
        .endswith("1 written now, 1 there already")
    )


def test_a_comment_that_was_added_to_keeps_its_mark(tmp_path, repository, run_cli):
    songs, codes, back = _songs(tmp_path / "songs"), tmp_path / "codes", tmp_path / "back"
    run_cli("encode", songs, codes, "--model", repository, "--no-measure")
    run_cli("decode", codes, back, "--format", "flac")
    with soundfile.SoundFile(back / "0.wav.flac") as file:
        audio, comment = file.read(), file.comment
    with soundfile.SoundFile(back / "0.wav.flac", "w", RATE, 1) as file:
        file.comment = f"{comment}. Nice one!"
        file.write(audio)
    assert json.loads(run_cli("decode", codes, back, "--format", "flac", "--json").out)["there"] == 2
    done = run_cli("decode", codes, back, "--format", "flac", "--level", 1)
    assert (done.code, "was decoded from level 0, flac, normalize none, not level 1, flac" in done.err) == (2, True)


def test_a_link_out_of_a_folder_is_refused_without_an_option_that_encode_has_not(tmp_path, repository, run_cli):
    songs = _songs(tmp_path / "songs", 1)
    soundfile.write(tmp_path / "secret.wav", np.zeros(RATE // 4), RATE)
    (songs / "link.wav").symlink_to(tmp_path / "secret.wav")
    done = run_cli("encode", songs, tmp_path / "codes", "--model", repository)
    assert (done.code, (tmp_path / "codes").exists()) == (2, False)
    told = f"{songs} holds 'link.wav', a link to a file that is not inside it; put the file itself there"
    assert done.err == f"jukebox-hf: {told}\n"
