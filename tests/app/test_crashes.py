"""Nothing is lost: killed, interrupted, full, tampered with or started twice."""

import contextlib
import json
import random
import resource
import signal
import time
from collections import namedtuple
from dataclasses import replace

import pytest

from jukebox_hf.app.runs import device_choice, song_folder, song_making, song_runs
from jukebox_hf.app.runs.backend_notes import backends_of
from jukebox_hf.app.runs.partial_folder import PartialFolder
from jukebox_hf.app.runs.song_folder import SongTarget, load_codes
from jukebox_hf.model.sampling import triton_step

FILES = ("song.wav", "song.codes.safetensors", "song.png", "song.json")


@pytest.fixture
def begun(start, whole_song, tmp_path):
    """Start the whole song's command in `tmp_path` and give the process, once so many codes are saved."""

    def run(codes=1):
        child = start(*whole_song.words, "--out", tmp_path / "song.wav")
        state = tmp_path / "song.partial" / "state.safetensors"
        while _saved(state) < codes:
            assert child.poll() is None, child.said
            time.sleep(0.002)
        return child

    return run


def _saved(state):
    """How many codes a state has that is being replaced all the while: its file may be opened twice to be read."""
    with contextlib.suppress(ValueError):
        return sum(len(songs[0]) for songs in load_codes(state).codes)
    return 0


@pytest.fixture
def killed(begun):
    """The same, killed."""

    def run(codes=1):
        child = begun(codes)
        child.send(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        return child

    return run


@pytest.fixture
def is_the_whole_song(whole_song, tmp_path, read_json):
    """Check that `tmp_path` holds the song that nothing interrupted, bit for bit, and nothing else."""

    def check():
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)
        for name in FILES[:3]:
            assert (tmp_path / name).read_bytes() == (whole_song.folder / name).read_bytes(), name
        sidecars = [read_json(folder / "song.json") for folder in (tmp_path, whole_song.folder)]
        assert sidecars[0].pop("command") != sidecars[1].pop("command")  # which says where the song went
        assert sidecars[0] == sidecars[1]

    return check


def _kill_and_resume(kills, start, whole_song, tmp_path, check):
    """Run the song in a child that is killed at a random moment, again and again, and then to its end.

    A song that was finished in between is checked, and begun anew. Gives how many codes each level had after each kill.
    """
    dice, reached = random.Random(kills), []
    state = tmp_path / "song.partial" / "state.safetensors"
    begun = state.with_name("request.json"), tmp_path / "song.json"  # unfinished, or finished but for tidying up

    def resume():
        return ["--resume"] * any(path.exists() for path in begun)

    words = [*whole_song.words, "--out", tmp_path / "song.wav"]
    begin = time.monotonic()
    assert start(*words).wait() == 0
    longest = time.monotonic() - begin  # a run takes here and now
    check()
    for name in FILES:
        (tmp_path / name).unlink()
    for _ in range(kills):
        child = start(*words, *resume())
        deadline = time.monotonic() + dice.uniform(0, longest)
        while (time.monotonic() < deadline or not state.exists()) and child.poll() is None:
            time.sleep(0.001)
        child.send(signal.SIGKILL)
        assert child.wait() in (0, -signal.SIGKILL), child.said
        if state.exists():
            reached.append(tuple(len(songs[0]) for songs in load_codes(state).codes))  # never unreadable
        if (tmp_path / "song.json").exists() and not state.parent.exists():
            check()
            for name in FILES:
                (tmp_path / name).unlink()
    assert start(*words, *resume()).wait() == 0
    return reached


def test_killed_ten_times_at_random_moments_the_song_is_the_same(start, whole_song, tmp_path, is_the_whole_song):
    reached = _kill_and_resume(10, start, whole_song, tmp_path, is_the_whole_song)
    is_the_whole_song()
    assert len(reached) >= 5


@pytest.mark.slow
def test_killed_two_hundred_times_at_random_moments_the_song_is_the_same(
    start, whole_song, tmp_path, is_the_whole_song
):
    reached = _kill_and_resume(200, start, whole_song, tmp_path, is_the_whole_song)
    is_the_whole_song()
    levels_in_work = {sum(bool(length) for length in lengths) for lengths in reached}
    assert levels_in_work >= {1, 2, 3}


def test_resuming_needs_no_word_but_where_the_song_is(killed, run_cli, tmp_path, is_the_whole_song):
    killed(codes=34 + 32)  # the top level is done, the middle one begun
    lengths = [len(songs[0]) for songs in load_codes(tmp_path / "song.partial" / "state.safetensors").codes]
    assert lengths[2] == 34
    assert lengths[0] < 544
    assert (tmp_path / "song.partial" / "song.level_2.wav").stat().st_size > 34 * 128
    assert run_cli("generate", "--resume", "--out", tmp_path / "song.wav").code == 0
    is_the_whole_song()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_it_at_once_and_leave_it_resumable(begun, run_cli, tmp_path, number, code, is_the_whole_song):
    child = begun()
    start = time.monotonic()
    child.send(number)
    assert child.wait() == code
    assert time.monotonic() - start < 10  # the song takes longer, and ends with another code
    assert "Traceback" not in child.said
    assert f"generate --resume --out {tmp_path / 'song.wav'}" in child.said
    assert run_cli("generate", "--resume", "--out", tmp_path / "song.wav").code == 0
    is_the_whole_song()


def test_a_second_process_on_the_same_output_is_refused(
    begun, run_cli, generate, tmp_path, is_the_whole_song, says_one_sentence
):
    child = begun()
    child.send(signal.SIGSTOP)
    second = run_cli("generate", "--resume", "--out", tmp_path / "song.wav")
    says_one_sentence(second, "is in use by process", child.pid)
    says_one_sentence(generate(tmp_path / "song.wav", "--force"), "is in use by process", child.pid)
    says_one_sentence(generate(tmp_path / "song.wav"), "is in use by process", child.pid)
    child.send(signal.SIGCONT)
    assert child.wait() == 0
    is_the_whole_song()


def test_the_lock_of_a_dead_process_is_no_lock(killed, run_cli, tmp_path, is_the_whole_song):
    child = killed()
    assert f"process {child.pid} on" in (tmp_path / "song.partial" / "lock").read_text()
    assert run_cli("generate", "--resume", "--out", tmp_path / "song.wav").code == 0
    is_the_whole_song()


@pytest.fixture
def unfinished(killed, tmp_path):
    """An unfinished song: its partial folder."""
    killed()
    return tmp_path / "song.partial"


def test_going_on_in_a_way_that_is_not_possible_is_refused_and_nothing_is_lost(
    unfinished, run_cli, tmp_path, read_json, monkeypatch, says_one_sentence
):
    words = ("generate", "--resume", "--out", tmp_path / "song.wav")
    before = (unfinished / "state.safetensors").read_bytes()
    monkeypatch.setattr(triton_step, "triton", None)
    says_one_sentence(run_cli(*words, "--backend", "triton"), "backend='triton' is not possible here: triton")
    assert (unfinished / "state.safetensors").read_bytes() == before
    begun = backends_of(load_codes(unfinished / "state.safetensors").notes)[2]
    done = run_cli(*words, "--backend", "eager")
    assert "backend eager as asked" in done.err
    changes = begun != "eager"  # where no compiler is, a song is begun so
    assert (f"the song was begun with backend {begun} and goes on with eager" in done.err) == changes
    plan = read_json(tmp_path / "song.json")["plan"]
    assert {word for level in plan for word in level["backend"].split(", ")} == {begun, "eager"}
    assert "backend" not in read_json(tmp_path / "song.json")["command"]


def test_a_song_goes_on_in_its_dtype_however_little_memory_is_left(
    unfinished, run_cli, tmp_path, monkeypatch, is_the_whole_song
):
    monkeypatch.setattr(device_choice, "free_bytes", lambda device: 1000)
    done = run_cli("generate", "--resume", "--out", tmp_path / "song.wav")
    assert "priors in float32 as stored, 1 song, about 0.5 GB (more than is free)" in done.err
    is_the_whole_song()


def test_a_tampered_or_cut_state_is_refused_and_left_alone(unfinished, run_cli, tmp_path, says_one_sentence):
    state = unfinished / "state.safetensors"
    whole = state.read_bytes()
    flipped = bytearray(whole)
    flipped[-8] ^= 1
    seeds = whole.replace(b"[7]", b"[8]")
    for content in (bytes(flipped), whole[:-9], whole[:20], b"", seeds, b"not a state"):
        state.write_bytes(content)
        cure = "put it back as it was, or start anew with --force"
        says_one_sentence(run_cli("generate", "--resume", "--out", tmp_path / "song.wav"), state, cure)
        assert state.read_bytes() == content
    state.unlink()
    done = run_cli("generate", "--resume", "--out", tmp_path / "song.wav")
    says_one_sentence(done, f"{state} is not a file; put it back as it was, or start anew with --force")
    (unfinished / "request.json").write_text('{"songs": 3}')
    says_one_sentence(run_cli("generate", "--resume", "--out", tmp_path / "song.wav"), "damaged", "--force")


def test_going_on_with_other_words_is_refused(unfinished, generate, run_cli, tmp_path, says_one_sentence, repository):
    done = run_cli("generate", "--resume", "--out", tmp_path / "song.wav", "--seed", 8)
    says_one_sentence(done, "was begun with another --seed; leave it out")
    cure = f"go on with jukebox-hf generate --resume --out {tmp_path / 'song.wav'}, or start anew with --force"
    says_one_sentence(generate(tmp_path / "song.wav"), "holds an unfinished song", cure)
    assert generate(tmp_path / "song.wav", "--force", "--seed", 7, "--levels", 2).code == 0
    assert not unfinished.exists()


@pytest.fixture
def prompted(generate, recording, tmp_path, monkeypatch):
    """The words of a song that goes on from prompt.wav, and was begun."""
    words = ("--seed", 1, "--levels", 2, "--prompt", recording(0.05))
    with monkeypatch.context() as patch:
        patch.setattr(song_making, "draw_song", lambda *_, **__: (_ for _ in ()).throw(OSError("stopped")))
        assert generate(tmp_path / "song.wav", *words).code == 2
    return words


def test_another_recording_under_the_prompts_name_is_refused_where_it_is_said_again(
    prompted, generate, recording, run_cli, tmp_path, says_one_sentence
):
    prompt = recording(0.06)
    done = generate(tmp_path / "song.wav", *prompted, "--resume")
    cure = "leave it out to go on as begun, or start anew with --force"
    says_one_sentence(done, f"was begun with another --prompt ({prompt} is another file now); {cure}")
    assert run_cli("generate", "--resume", "--out", tmp_path / "song.wav").code == 0
    done = generate(tmp_path / "song.wav", *prompted, "--resume")
    says_one_sentence(done, f"song.wav was made with another --prompt ({prompt} is another file now); leave it out")


def test_a_prompt_that_is_gone_or_was_not_noted_changes_nothing(prompted, generate, recording, tmp_path):
    request = tmp_path / "song.partial" / "request.json"
    noted, prompt = request.read_text(), tmp_path / "prompt.wav"
    whole = prompt.read_bytes()
    prompt.unlink()
    assert generate(tmp_path / "song.wav", *prompted, "--resume", "--dry-run").code == 0
    prompt.write_bytes(whole)  # again, and newer
    assert generate(tmp_path / "song.wav", *prompted, "--resume", "--dry-run").code == 0
    recording(0.06)
    state = PartialFolder(SongTarget(tmp_path, "song", ".wav"))
    songs = json.loads(noted)["songs"]
    del songs[0]["request"]["prompt_sha256"]
    with state.locked():  # as an older version would have
        kept = state.load_state()
        state.save_state(replace(kept, notes={k: v for k, v in kept.notes.items() if k != "request"}))
        request.write_text(json.dumps({"songs": songs}))
    assert generate(tmp_path / "song.wav", *prompted, "--resume").code == 0


def test_other_words_for_a_finished_song_are_refused_without_an_unfinished_one(whole_song, run_cli, says_one_sentence):
    audio = whole_song.folder / "song.wav"
    done = run_cli("generate", "--resume", "--out", audio, "--seed", 99, "--title", "Other")
    says_one_sentence(done, f"{audio} was made with another --title, --seed; leave it out to keep it, or start anew")
    assert not (whole_song.folder / "song.partial").exists()


def test_a_file_that_appeared_where_a_song_goes_is_seen_before_it_goes_on(
    unfinished, run_cli, tmp_path, is_the_whole_song, says_one_sentence
):
    words = ("generate", "--resume", "--out", tmp_path / "song.wav")
    before = (unfinished / "state.safetensors").read_bytes()
    (tmp_path / "song.png").write_bytes(b"mine")
    says_one_sentence(run_cli(*words), f"{tmp_path / 'song.png'} appeared since the song was begun; move it away")
    assert (tmp_path / "song.png").read_bytes() == b"mine"
    assert (unfinished / "state.safetensors").read_bytes() == before
    (tmp_path / "song.png").unlink()
    assert run_cli(*words).code == 0
    is_the_whole_song()


def test_of_two_songs_the_one_that_is_finished_is_told_and_nothing_is_sampled_for_the_other(
    generate, run_cli, tmp_path, monkeypatch
):
    files, out = song_making._files, tmp_path / "songs"

    def appearing(planned, song, target, *rest):
        if song == 1:
            target.picture.write_bytes(b"mine")
        return files(planned, song, target, *rest)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(song_making, "_files", appearing)
        done = generate(f"{out}/", "--count", 2, "--seed", 3, "--levels", 2)
    assert "1 of 2 songs are not finished" in done.err, done.err
    monkeypatch.setattr(song_making, "_to_the_end", lambda *_: pytest.fail("sampled for nothing"))
    again = generate(f"{out}/", "--count", 2, "--seed", 3, "--levels", 2, "--resume")
    assert "1 of 2 songs are not finished" in again.err, again.err
    assert "appeared since the song was begun" in again.err
    assert [path.read_bytes() for path in out.glob("*.png") if path.stat().st_size == 4] == [b"mine"]


def test_where_songs_lie_is_seen_before_a_network_is_opened(
    unfinished, generate, run_cli, tmp_path, whole_song, monkeypatch, says_one_sentence
):
    def refuse(*_, **__):
        raise AssertionError("a network is opened")

    monkeypatch.setattr(song_runs, "open_model", refuse)
    says_one_sentence(generate(tmp_path / "song.wav"), "holds an unfinished song", "--resume", "--force")
    says_one_sentence(generate(whole_song.folder / "song.wav"), "already has song.wav")
    (tmp_path / "a.partial").write_text("")
    says_one_sentence(generate(tmp_path / "a.wav"), "a.partial is a file, but a song needs a folder there")
    state = unfinished / "state.safetensors"
    whole = state.read_bytes()
    state.write_bytes(whole[:-9])
    resume = ("generate", "--resume", "--out")
    says_one_sentence(run_cli(*resume, tmp_path / "song.wav"), state)
    state.write_bytes(whole)
    with PartialFolder(SongTarget(tmp_path, "song", ".wav")).locked():
        says_one_sentence(run_cli(*resume, tmp_path / "song.wav"), "is in use by process")


def test_a_folder_that_was_renamed_is_told_how_it_was_called(
    unfinished, run_cli, tmp_path, is_the_whole_song, says_one_sentence
):
    renamed, begun_as = unfinished.rename(tmp_path / "b.partial"), tmp_path / "song.wav"
    cure = f"rename the folder back to song.partial and go on with --out {begun_as}"
    for out in (tmp_path / "b.wav", f"{tmp_path}/"):
        done = run_cli("generate", "--resume", "--out", out)
        says_one_sentence(done, f"{renamed} was begun as {begun_as}; {cure}")
    renamed.rename(unfinished)
    assert run_cli("generate", "--resume", "--out", begun_as).code == 0
    is_the_whole_song()


def test_resuming_nothing_is_refused_and_resuming_a_finished_song_does_nothing(generate, tmp_path, says_one_sentence):
    says_one_sentence(
        generate(tmp_path / "song.wav", "--resume", "--seed", 1), "nothing was begun", "leave --resume out"
    )
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "song.partial").symlink_to(tmp_path)
    says_one_sentence(generate(tmp_path / "song.wav", "--resume"), f"{tmp_path / 'song.partial'} is a symbolic link")
    (tmp_path / "song.partial").unlink()
    assert generate(tmp_path / "song.wav", "--seed", 1, "--levels", 2).code == 0
    before = (tmp_path / "song.wav").stat().st_mtime_ns
    done = generate(tmp_path / "song.wav", "--resume", "--seed", 1, "--levels", 2)
    assert (done.code, "finished already" in done.err) == (0, True)
    assert (tmp_path / "song.wav").stat().st_mtime_ns == before


def test_a_full_disk_is_refused_before_the_first_step(generate, tmp_path, monkeypatch, says_one_sentence):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(song_folder.shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 5000, 5000))
    says_one_sentence(generate(tmp_path / "song.wav"), "5,000 bytes free")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_leaves_older_songs_and_a_state_to_go_on_from(
    whole_song, start, run_cli, tmp_path, is_the_whole_song
):
    """A limit on the size of files stands for a full disk: the state grows over it in the finest level."""
    (tmp_path / "song.wav").write_bytes(b"older")
    words = [*whole_song.words, "--out", tmp_path / "song.wav", "--force"]
    child = start(*words, before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000)))
    assert child.wait() == 2
    assert "could not be written" in child.said
    assert "bytes" in child.said
    assert "Traceback" not in child.said
    assert (tmp_path / "song.wav").read_bytes() == b"older"
    assert run_cli("generate", "--resume", "--out", tmp_path / "song.wav").code == 0
    is_the_whole_song()


def test_a_folder_that_can_not_be_written_to_is_refused(generate, tmp_path, monkeypatch, says_one_sentence):
    (tmp_path / "file").write_text("")
    says_one_sentence(generate(tmp_path / "file" / "song.wav"), tmp_path / "file", "is a file, not a folder")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(song_folder.tempfile, "TemporaryFile", refuse)
    says_one_sentence(generate(tmp_path / "song.wav"), "Permission denied")


def test_the_lock_holds_within_a_process_too(tmp_path):
    partial = PartialFolder(SongTarget(tmp_path, "song", ".wav"))
    with partial.locked(), pytest.raises(ValueError, match="in use by process"), partial.locked():
        pass
    with partial.locked():
        partial.remove([partial.target])
    assert list(tmp_path.iterdir()) == []
