"""Songs over several levels: plans as values, states that survive a restart, draws that depend on their place alone."""

import weakref
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from jukebox_hf import JukeboxModel, SamplingSettings, sample_window
from jukebox_hf.model.inputs.label_mixes import LabelPart
from jukebox_hf.model.inputs.labels import LevelLabels, window_inputs
from jukebox_hf.model.inputs.lyric_characters import lyric_vocabulary
from jukebox_hf.model.inputs.lyric_windows import SongTiming
from jukebox_hf.model.sampling import window_decoder
from jukebox_hf.model.sampling.sampling_ops import uniforms
from jukebox_hf.model.sampling.window_decoder import WindowDecoder
from jukebox_hf.model.songs.draw_notes import draw_noted, draws_of
from jukebox_hf.model.songs.level_sampler import LevelSampler
from jukebox_hf.model.songs.song import sample_song
from jukebox_hf.model.songs.song_plan import ComputeOptions, plan_song
from jukebox_hf.model.songs.song_state import SongState
from jukebox_hf.model.songs.windows import Recall, Window, plan_side_by_side

PLAINLY = ComputeOptions()
SAMPLES = 40 * 8  # 40 codes at the top, 160 below: more than one window at each level


@pytest.fixture
def labels_of(config):
    """Labels of songs that differ in artist, lyrics and place, for every level."""

    def make(*songs):
        lyrics = ["la la la, what a song it is", "no", "a third one sings of something else entirely"]
        return [
            [
                LevelLabels(
                    prior,
                    artist_id=song % 5,
                    genre_ids=(song % 4,),
                    lyrics=lyric_vocabulary("v3").encode(lyrics[song % 3]),
                    timing=SongTiming(2000, 100 * song, prior.window_samples),
                )
                for song in songs
            ]
            for prior in config.prior_configs
        ]

    return make


def _run(model, plan, labels, state, compute=PLAINLY, **options):
    for progress in sample_song(model, plan, labels, state, compute, **options):
        state = progress.state
    return state


def _same(one, other):
    return all(
        torch.equal(a, b)
        for left, right in zip(one.codes, other.codes, strict=True)
        for a, b in zip(left, right, strict=True)
    )


# --- plans ---


def test_plan_is_a_value_that_says_every_window(config):
    plan = plan_song(config, SAMPLES + 7, hop_fractions={1: 0.5})
    assert plan == plan_song(config, SAMPLES, hop_fractions={1: 0.5}), "rounded down to whole top codes"
    top, bottom = plan.levels
    assert (top.level, top.total, bottom.level, bottom.total) == (1, 40, 0, 160)
    assert top.windows == (Window(0, 24), Window(12, 36), Window(16, 40))
    assert [window.start for window in bottom.windows] == [0, 16, 32, 48, 64, 80, 96, 112, 128]
    assert plan.steps == 200
    assert top.settings == SamplingSettings(0.99), "the original's default"


def test_hops_are_whole_upper_codes(config):
    assert all(window.start % 4 == 0 for window in plan_song(config, SAMPLES, hop_fractions={0: 0.3}).levels[1].windows)
    assert plan_song(config, SAMPLES, hop_fractions={0: 0.01}).levels[1].windows[1].start == 4


def test_settings_can_differ_by_level(config):
    plan = plan_song(config, SAMPLES, settings={0: SamplingSettings(0.5), 1: SamplingSettings(0.9, top_k=3)})
    assert [level.settings for level in plan.levels] == [SamplingSettings(0.9, top_k=3), SamplingSettings(0.5)]


@given(total=st.integers(1, 300), units=st.integers(1, 12), unit=st.integers(1, 5))
def test_windows_side_by_side_touch_are_few_and_equally_long(total, units, unit):
    windows = plan_side_by_side(total, units * unit, unit)
    assert [window.start for window in windows] == [0, *(window.stop for window in windows[:-1])]
    assert windows[-1].stop == total
    assert len({window.length for window in windows[:-1]}) <= 1
    assert all(window.length % unit == 0 for window in windows[:-1])
    assert 0 < windows[-1].length <= windows[0].length <= units * unit
    assert len(windows) <= -(-total // (units * unit)), "as few as can be"


def test_windows_of_twenty_seconds_side_by_side():
    windows = plan_side_by_side(110_240, 8192, 4)
    assert (len(windows), windows[0].length, windows[-1]) == (14, 7876, Window(102_388, 110_240))


def test_upsamplers_alone_write_side_by_side_as_many_as_the_batch_allows(config):
    top, bottom = plan_song(config, SAMPLES, parallel_windows=True).levels
    assert top.windows == plan_song(config, SAMPLES).levels[0].windows, "a top prior has nothing to hold seams together"
    assert top.rounds(2) == tuple((window,) for window in top.windows)
    assert bottom.rounds(3) == (bottom.windows,)
    assert [window.length for window in bottom.windows] == [32] * 5
    assert [len(windows) for windows in bottom.rounds(2, 5)] == [2, 2, 1]
    assert [len(windows) for windows in bottom.rounds(9, 5)] == [1] * 5


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"parallel_windows": 1}, "parallel_windows=1 must be True or False"),
        (
            {"parallel_windows": True, "hop_fractions": {0: 0.25}},
            r"hop_fractions\[0\]=0.25 and parallel_windows=True exclude each other",
        ),
        ({"samples": 7}, "samples=7 is shorter than one code"),
        ({"levels": [2]}, "levels=2 is not a level of this model"),
        ({"levels": []}, r"levels=\[\] must be one or more neighbouring levels"),
        ({"hop_fractions": {1: 0.0}}, r"hop_fractions\[1\]=0.0 must lie over 0 and up to 1"),
        ({"hop_fractions": {0: 1.5}}, r"hop_fractions\[0\]=1.5 must lie over 0 and up to 1"),
    ],
)
def test_impossible_plans_are_refused(config, wish, message):
    with pytest.raises(ValueError, match=message):
        plan_song(config, **{"samples": SAMPLES, **wish})


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"batch": 0}, "batch=0 must be a positive integer"),
        ({"chunk": -1}, "chunk=-1 must be a positive integer"),
        ({"chunk": 2.5}, r"chunk=2\.5 must be a positive integer"),
        ({"backend": "fast"}, "backend='fast' is none of auto, eager, cpp"),
    ],
)
def test_what_can_not_be_computed_is_refused(wish, message):
    with pytest.raises(ValueError, match=message):
        ComputeOptions(**wish)


# --- draws ---


@given(
    seed=st.integers(0, 2**64 - 1),
    level=st.integers(0, 2),
    start=st.integers(0, 10_000),
    length=st.integers(1, 40),
    cut=st.integers(0, 40),
)
def test_number_of_a_code_depends_on_seed_level_and_place_alone(seed, level, start, length, cut):
    whole = uniforms([seed], level, start, start + length)
    first, second = (
        uniforms([seed], level, start, start + min(cut, length)),
        uniforms([7, seed], level, start + min(cut, length), start + length),
    )
    assert torch.equal(torch.cat([first[0], second[1]]), whole[0])
    assert 0 <= whole.min() <= whole.max() < 1


def test_numbers_are_even_and_unrelated_between_seeds_and_levels():
    numbers = torch.cat([uniforms([0, 1], 0, 0, 20_000), uniforms([0], 1, 0, 20_000)])
    assert (numbers.mean(dim=1) - 0.5).abs().max() < 0.01
    assert (numbers.var(dim=1) - 1 / 12).abs().max() < 0.002
    assert torch.corrcoef(numbers).fill_diagonal_(0).abs().max() < 0.03


# --- songs ---


def test_songs_of_a_batch_equal_the_same_songs_alone(model, config, labels_of):
    plan = plan_song(config, SAMPLES)
    together = _run(model, plan, labels_of(0, 1, 2), SongState.empty(2, [5, 6, 7]))
    for song in range(3):
        alone = _run(model, plan, labels_of(song), SongState.empty(2, [5 + song]))
        assert all(torch.equal(together.codes[level][song], alone.codes[level][0]) for level in (0, 1))


def test_songs_drawn_with_noise_are_the_same_alone_stopped_and_side_by_side(model, config, labels_of, tmp_path):
    """And the state says which draw it was, and in which version."""
    gumbel = SamplingSettings(draw="gumbel", temperature=2.0)
    plan, start = plan_song(config, SAMPLES, settings=gumbel), SongState.empty(2, [5, 6])
    together = _run(model, plan, labels_of(0, 1), start)
    assert not _same(together, _run(model, plan_song(config, SAMPLES), labels_of(0, 1), start)), "another song"
    assert draws_of(together.notes) == {1: ("gumbel 1",), 0: ("gumbel 1",)}
    for number, progress in enumerate(sample_song(model, plan, labels_of(0, 1), start)):
        if number in (1, 7):  # in the midst of either level
            progress.state.save(tmp_path / "state")
            resumed = _run(model, plan, labels_of(0, 1), SongState.load(tmp_path / "state"), ComputeOptions(batch=1))
            assert _same(resumed, together)
            assert resumed.notes == together.notes
    side_by_side = _unmended(plan_song(config, SAMPLES, settings=gumbel, parallel_windows=True))
    found = _run(model, side_by_side, labels_of(0, 1), start)
    assert _same(found, _run(model, _one_by_one(side_by_side), labels_of(0, 1), start))


@pytest.mark.parametrize("draw", ["gumbel", "inverse"])
def test_songs_of_many_codes_per_forward_are_the_songs_of_one(model, config, labels_of, tmp_path, draw):
    """Batches, windows side by side with seams, guidance, and a run that stops and goes on with another number."""
    settings, start = SamplingSettings(draw=draw, temperature=2.0), SongState.empty(2, [5, 6])
    guided = replace(settings, guidance_scale=2.0)
    for own, parallel in ((settings, False), (settings, True), (guided, False)):
        plan = plan_song(config, SAMPLES, settings=own, parallel_windows=parallel)
        wanted = _run(model, plan, labels_of(0, 1), start, ComputeOptions(backend="eager"))
        compute = ComputeOptions(backend="eager", jacobi={1: 3, 0: 8}, batch=None if own is settings else 2)
        steps = list(sample_song(model, plan, labels_of(0, 1), start, compute))
        assert _same(steps[-1].state, wanted)
        assert max(step.codes_per_forward for step in steps) > 1
        assert {step.backend for step in steps} == {"eager"}
        steps[len(steps) // 2].state.save(tmp_path / "state")
        resumed = SongState.load(tmp_path / "state")
        assert _same(
            _run(model, plan, labels_of(0, 1), resumed, ComputeOptions(jacobi="auto", backend="eager")), wanted
        )


def test_a_state_without_a_note_is_of_the_inverse_draw_and_another_version_is_refused(model, config, labels_of):
    plan, start = plan_song(config, SAMPLES), SongState.empty(2, [5])
    finished = _run(model, plan, labels_of(0), start)
    assert finished.notes == {}, "states of all versions before are such"
    assert (
        _run(model, plan_song(config, 80, settings=SamplingSettings(0, draw="gumbel")), labels_of(0), start).notes == {}
    )
    noted = replace(finished, notes={"draws": '{"0": "gumbel 2", "1": "inverse 1"}'})
    assert _same(_run(model, plan, labels_of(0), noted), finished), "nothing is left to draw"
    begun = noted.with_codes(0, 0, noted.codes[0][0][:9])
    message = (
        "level 0 of the state was begun with the draw 'gumbel 2', and this version of jukebox_hf knows inverse 1, "
        "gumbel 1; update jukebox_hf, or write the level anew"
    )
    with pytest.raises(ValueError, match=f"^{message}$"):
        _run(model, plan, labels_of(0), begun)
    for note in ("[]", "no JSON", '{"top": "gumbel 2"}', '{"0": 2}'):
        assert draws_of({"draws": note}) == {}, "not ours: nothing depends on it"
    mixed = draw_noted(draw_noted(start, 1, SamplingSettings(draw="gumbel")), 1, SamplingSettings())
    assert draws_of(mixed.notes) == {1: ("gumbel 1", "inverse 1")}


def test_songs_with_prompts_of_different_length_share_a_batch(model, config, labels_of):
    plan, two = plan_song(config, SAMPLES), ComputeOptions(batch=2)
    finished = _run(model, plan, labels_of(0, 1, 2), SongState.empty(2, [5, 6, 7]), two)
    state = SongState.empty(2, [5, 6, 7])
    for song, known in enumerate((3, 0, 30)):
        state = state.with_codes(1, song, finished.codes[1][song][:known])
    again = _run(model, plan, labels_of(0, 1, 2), state, two)
    assert _same(again, finished), "draws depend on their place, so a prompt of a song's own codes leads to that song"


def _one_by_one(plan):
    """The same windows, each after the other and with their seams: the plain twin."""
    return replace(plan, levels=tuple(replace(level, is_side_by_side=False, mended=0) for level in plan.levels))


def _unmended(plan):
    return replace(plan, levels=tuple(replace(level, mended=0) for level in plan.levels))


@pytest.mark.parametrize("batch", [None, 3])
@pytest.mark.parametrize("top_codes", [40, 37])  # at 37 the last window is shorter than the others
def test_windows_side_by_side_are_the_windows_one_by_one(model, config, labels_of, batch, top_codes):
    plan, compute = _unmended(plan_song(config, top_codes * 8, parallel_windows=True)), ComputeOptions(batch)
    assert len({window.length for window in plan.levels[1].windows}) == (2 if top_codes == 37 else 1)
    labels, start = labels_of(0, 1), SongState.empty(2, [5, 6])
    side_by_side = _run(model, plan, labels, start, compute)
    assert _same(side_by_side, _run(model, _one_by_one(plan), labels, start))
    assert not _same(side_by_side, _run(model, plan_song(config, top_codes * 8), labels, start)), "seams change a song"
    known = side_by_side
    for song, some in enumerate((50, 7)):  # into the second window, and into the first
        known = known.with_codes(0, song, known.codes[0][song][:some])
    assert _same(_run(model, plan, labels, known), side_by_side)


@pytest.mark.parametrize(("top_codes", "seams"), [(40, (32, 64, 96, 128)), (37, (32, 64, 96, 128)), (17, (24, 48))])
def test_seams_are_written_again_from_what_is_before_them(model, config, labels_of, top_codes, seams):
    plan, total = plan_song(config, top_codes * 8, parallel_windows=True), 4 * top_codes
    assert [level.mended for level in plan.levels] == [0, 4], "an eighth of a window"
    assert tuple(window.start for window in plan.levels[1].windows[1:]) == seams
    labels, start = labels_of(0, 1), SongState.empty(2, [5, 6])
    torn, mended = _run(model, _unmended(plan), labels, start), _run(model, plan, labels, start)
    for song in (0, 1):
        after = torch.zeros(total, dtype=torch.bool)
        for seam in seams:
            after[seam : seam + 4] = True
            again = _mended_by_hand(model, plan, labels, torn, song, seam)
            assert torch.equal(mended.codes[0][song][seam : seam + 4], again[: total - seam]), f"seam at {seam}"
        assert torch.equal(mended.codes[0][song][~after], torn.codes[0][song][~after]), "nothing else is touched"
        assert not torch.equal(mended.codes[0][song], torn.codes[0][song])


def _mended_by_hand(model, plan, labels, torn, song, seam, given_codes=0):
    """The plain twin: one window at a time, with half of one before the seam, and `given_codes` after it, known."""
    level = plan.levels[1]
    window = Window(seam - 16, min(seam + 16, level.total))
    inputs = window_inputs([labels[0][song]], window.start * 2)
    inputs["upper_codes"] = torn.codes[1][song][None, window.start // 4 : window.stop // 4]
    prior, known = model.prior(0), torn.codes[0][song][None, window.start : seam + given_codes]
    numbers = uniforms([torn.seeds[song]], 0, window.start, window.stop)
    codes, _ = sample_window(prior, known, prior.condition(**inputs), window.length, level.settings, uniforms=numbers)
    return codes[0, 16:20]


@pytest.mark.parametrize("given_codes", [0, 1, 3, 4, 9])
def test_what_follows_given_codes_is_mended_too_and_they_are_kept(model, config, labels_of, given_codes):
    """A prompt may end right behind a seam: what is written then must not begin as if the song did."""
    plan, labels = plan_song(config, SAMPLES, parallel_windows=True), labels_of(0)
    finished = _run(model, plan, labels, SongState.empty(2, [5]))
    known = finished.with_codes(0, 0, (finished.codes[0][0] + 1)[: 32 + given_codes] % 24)
    torn, mended = _run(model, _unmended(plan), labels, known), _run(model, plan, labels, known)
    assert torch.equal(mended.codes[0][0][: 32 + given_codes], known.codes[0][0])
    if given_codes < 4:
        again = _mended_by_hand(model, plan, labels, torn, 0, 32, given_codes)
        assert torch.equal(mended.codes[0][0][32:36], again)
    else:
        assert torch.equal(mended.codes[0][0][32:64], torn.codes[0][0][32:64]), "enough is known"


def test_a_song_side_by_side_goes_on_from_every_state_that_was_saved(model, config, labels_of):
    plan, labels = plan_song(config, 37 * 8, parallel_windows=True), labels_of(0, 1)
    steps = sample_song(model, plan, labels, SongState.empty(2, [1, 2]), ComputeOptions(batch=4))
    states = [step.state for step in steps]
    for batch in (None, 1, 6):
        compute = ComputeOptions(batch)
        assert all(_same(_run(model, plan, labels, state, compute), states[-1]) for state in states[:-1])


def test_seams_that_do_not_fit_into_memory_at_once_are_mended_in_parts(model, config, labels_of, monkeypatch):
    plan, labels, start = plan_song(config, SAMPLES, parallel_windows=True), labels_of(0), SongState.empty(2, [5])
    whole, rows, prefill = _run(model, plan, labels, start), [], WindowDecoder.prefill

    def scarce(self, tokens, *rest, **words):
        if tokens.shape[1] == 16:  # half a window is known: a seam
            rows.append(len(tokens))
            if len(tokens) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory.")
        return prefill(self, tokens, *rest, **words)

    monkeypatch.setattr(WindowDecoder, "prefill", scarce)
    with pytest.warns(UserWarning, match="ran out with 4 windows at once at level 0; 2 at once work .* batch=2 "):
        assert _same(_run(model, plan, labels, start), whole)
    assert rows == [4, 2, 2]


def test_windows_side_by_side_are_one_batch_and_saved_round_by_round(model, config, labels_of, monkeypatch):
    plan = plan_song(config, SAMPLES, parallel_windows=True, levels=[0])
    rows, prefill = [], WindowDecoder.prefill
    monkeypatch.setattr(
        WindowDecoder,
        "prefill",
        lambda self, tokens, *a, **k: rows.append(len(tokens)) or prefill(self, tokens, *a, **k),
    )
    top = SongState.empty(2, [1, 2]).with_codes(1, 0, torch.arange(40) % 24).with_codes(1, 1, torch.arange(40) % 23)
    (progress,) = sample_song(model, plan, labels_of(0, 1), top)
    assert (rows, progress.window, progress.level_is_done) == ([10, 8], Window(0, 160), True), "windows, then seams"
    steps = list(sample_song(model, plan, labels_of(0, 1), top, ComputeOptions(batch=4)))
    assert rows[2:] == [4, 2, 4, 4, 2, 2], "two windows of both songs, and the seams at their starts"
    assert [len(step.state.codes[0][1]) for step in steps] == [64, 128, 160], "what is done is whole from the start on"
    assert [step.level_is_done for step in steps] == [False, False, True]
    assert _same(steps[-1].state, progress.state)


def test_a_watcher_of_windows_side_by_side_is_told_how_many_codes_are_there(model, config, labels_of):
    told, plan = [], plan_song(config, SAMPLES, parallel_windows=True)
    _run(model, plan, labels_of(0), SongState.empty(2, [1]), watch=lambda level, place: told.append((level, place)))
    assert [place for level, place in told if level == 0] == [5 * step for step in range(32)], "and of seams nothing"


def test_fused_kernels_are_given_no_more_windows_than_they_take(model, config):
    plan = plan_song(config, 30 * SAMPLES, parallel_windows=True).levels[1]
    for batch, most in ((None, 16), (17, 16), (3, 3)):
        compute = ComputeOptions(batch, backend="triton")
        assert LevelSampler(model.prior(0), plan, [], compute).batch == most


def test_a_hook_can_not_follow_windows_side_by_side(model, config, labels_of):
    plan = plan_song(config, SAMPLES, parallel_windows=True)
    with pytest.raises(ValueError, match="told one position, but parallel_windows=True writes many"):
        next(sample_song(model, plan, labels_of(0), SongState.empty(2, [1]), hook=lambda logits, *_: logits))


def test_resumed_song_equals_uninterrupted_song(model, config, labels_of, tmp_path):
    plan = plan_song(config, SAMPLES)
    states = [progress.state for progress in sample_song(model, plan, labels_of(0, 1), SongState.empty(2, [1, 2]))]
    assert len(states) == sum(len(level.windows) for level in plan.levels)
    for state in states[:-1:3]:
        state.save(str(tmp_path / "state.safetensors"))  # a path, or its text
        assert _same(_run(model, plan, labels_of(0, 1), SongState.load(tmp_path / "state.safetensors")), states[-1])


def test_given_codes_are_kept_and_upsampling_needs_only_them(model, config, labels_of):
    plan = plan_song(config, SAMPLES)
    song = _run(model, plan, labels_of(0), SongState.empty(2, [1]))
    top_only = SongState.empty(2, [1]).with_codes(1, 0, song.codes[1][0])
    upsampled = _run(model, plan_song(config, SAMPLES, levels=[0]), labels_of(0), top_only)
    assert _same(upsampled, song)


def test_song_shorter_than_an_upsamplers_window_is_refined_all_the_same(model, config, labels_of):
    """Decision 010: the upsampler hears the upper codes that exist."""
    plan = plan_song(config, 5 * 8)
    song = _run(model, plan, labels_of(0), SongState.empty(2, [1]))
    assert [len(codes[0]) for codes in song.codes] == [20, 5]


def test_another_seed_makes_another_song_and_the_likeliest_song_needs_none(model, config, labels_of):
    plan, likeliest = plan_song(config, SAMPLES), plan_song(config, SAMPLES, settings=SamplingSettings(temperature=0))
    first, second = (_run(model, plan, labels_of(0), SongState.empty(2, [seed])) for seed in (1, 2))
    assert not _same(first, second)
    assert _same(*(_run(model, likeliest, labels_of(0), SongState.empty(2, [seed])) for seed in (1, 2)))


def test_hook_sees_every_draw_and_may_change_it(model, config, labels_of):
    seen = []

    def only_code_seven(logits, level, position):
        seen.append((level, position))
        wished = torch.full_like(logits, float("-inf"))
        wished[:, 7] = 0  # of codes, at the level with characters in front too
        return wished

    song = _run(model, plan_song(config, SAMPLES), labels_of(0), SongState.empty(2, [1]), hook=only_code_seven)
    assert all((codes[0] == 7).all() for codes in song.codes)
    assert seen == [(1, place) for place in range(40)] + [(0, place) for place in range(160)]


def test_a_watcher_is_told_every_place_and_leaves_steps_whole(model, config, labels_of, monkeypatch):
    """With a hook, a captured step would leave the draw to the host."""
    told, hooks = [], []
    decode_one = window_decoder.decode_one
    monkeypatch.setattr(window_decoder, "decode_one", lambda *words: hooks.append(words[-1]) or decode_one(*words))
    plan, plainly = plan_song(config, SAMPLES), ComputeOptions(backend="eager")
    song = _run(model, plan, labels_of(0), SongState.empty(2, [1]), plainly, watch=lambda *place: told.append(place))
    assert hooks
    assert set(hooks) == {None}
    for level_plan in plan.levels:
        assert [place for level, place in told if level == level_plan.level] == list(range(level_plan.total))
    again = _run(model, plan, labels_of(0), SongState.empty(2, [1]), plainly)
    assert all(map(torch.equal, song.codes[0], again.codes[0]))


@pytest.mark.parametrize("backend", ["auto", "eager"])
def test_a_song_steps_as_it_was_asked_to(model, config, labels_of, monkeypatch, backend):
    asked, prefill = [], WindowDecoder.prefill
    monkeypatch.setattr(
        WindowDecoder, "prefill", lambda self, *a, **k: asked.append(self.options.backend) or prefill(self, *a, **k)
    )
    compute = ComputeOptions(backend=backend)
    _run(model, plan_song(config, SAMPLES), labels_of(0), SongState.empty(2, [1]), compute)
    assert set(asked) == {backend}


def test_hook_that_leaves_nothing_to_draw_is_stopped_with_level_song_and_place(model, config, labels_of):
    def silence(logits, level, position):
        if (level, position) == (1, 29):
            logits[1] = float("-inf")
        return logits

    with pytest.raises(FloatingPointError, match=r"hook leaves no code to draw: level 1, song 1, code 29; let it keep"):
        _run(model, plan_song(config, SAMPLES), labels_of(0, 1), SongState.empty(2, [1, 2]), hook=silence)


@pytest.mark.parametrize(("songs", "fits", "tried"), [(4, 2, [4, 2]), (5, 1, [5, 3, 2, 1]), (3, 2, [3, 2])])
def test_batch_that_does_not_fit_is_halved_and_gives_the_same_songs(
    model, config, labels_of, songs, fits, tried, monkeypatch
):
    plan, labels = plan_song(config, SAMPLES, levels=[1]), labels_of(*range(songs))
    start = SongState.empty(2, list(range(5, 5 + songs)))
    whole, rows, prefill = _run(model, plan, labels, start), [], WindowDecoder.prefill

    def scarce(self, tokens, *rest, **words):
        rows.append(len(tokens))
        if len(tokens) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return prefill(self, tokens, *rest, **words)

    monkeypatch.setattr(WindowDecoder, "prefill", scarce)
    with pytest.warns(UserWarning, match=f"{songs} songs at once at level 1; {fits} at once work .* batch={fits} "):
        halved = _run(model, plan, labels, start)
    assert _same(halved, whole)
    assert rows[: len(tried)] == tried
    assert max(rows[len(tried) :]) == fits, "what did not fit is not tried again"


def test_songs_are_conditioned_one_by_one_where_their_bits_are_to_be_their_own(model, config, labels_of):
    """Convolutions too may sum in another order for more songs."""
    rows = []
    watched = model.prior(0).upper.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    try:
        _run(model, plan_song(config, SAMPLES), labels_of(0, 1, 2), SongState.empty(2, [1, 2, 3]))
    finally:
        watched.remove()
    assert set(rows) == {1}


def test_one_song_that_does_not_fit_is_given_up(model, config, labels_of):
    def run_out(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    crowded = model.prior(1).transformer.register_forward_pre_hook(run_out)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            _run(model, plan_song(config, SAMPLES), labels_of(0, 1), SongState.empty(2, [1, 2]))
    finally:
        crowded.remove()


def test_priors_are_released_after_their_level(model, config, labels_of):
    released = []

    class Watched:
        config = model.config
        lend = staticmethod(model.lend)
        take_back = staticmethod(released.append)

    for progress in sample_song(Watched, plan_song(config, SAMPLES), labels_of(0), SongState.empty(2, [1])):
        assert released == ([] if progress.level == 1 else [1])
    assert released == [1, 0]


def test_graphs_are_made_once_per_level_and_freed_with_it(model, config, labels_of, monkeypatch):
    plan, labels, start, made = plan_song(config, SAMPLES), labels_of(0, 1), SongState.empty(2, [1, 2]), []
    whole = _run(model, plan, labels, start)

    recorded = window_decoder.recorded

    def noted(*arguments):
        body = recorded(*arguments)
        made.append(weakref.ref(body))
        return body

    monkeypatch.setattr(window_decoder, "recorded", noted)
    for progress in sample_song(model, plan, labels, start, ComputeOptions(backend="cuda_graph")):
        alive = [body() for body in made if body() is not None]
        assert len(alive) == 1, f"level {progress.level}: {len(alive)} graphs"
        del alive
    assert len(made) == len(plan.levels)
    assert _same(progress.state, whole)


def test_logits_that_are_not_finite_stop_with_level_song_and_place(config, labels_of):
    broken = JukeboxModel(config).eval()
    with torch.no_grad():
        broken.prior(1).transformer.position_embedding.weight[12 + 5] = float("nan")
    with pytest.raises(FloatingPointError, match=r"logits are not finite: level 1, song 0, code 5; use a wider dtype"):
        _run(broken, plan_song(config, SAMPLES), labels_of(0, 1), SongState.empty(2, [1, 2]))


def _retimed(labels, total, offset):
    return [
        [replace(song, timing=SongTiming(total, offset, song.timing.window_samples)) for song in level]
        for level in labels
    ]


@pytest.mark.parametrize(
    ("total", "offset", "message"),
    [
        (90, 0, r"song_seconds=0.09 is outside the songs this prior was trained on \(0.1 to under 10 s\)"),
        (10_000, 0, "song_seconds=10 is outside the songs"),
        (200, 150, r"a window begins at 0\.\d+ s, after the song's end at 0\.2 s"),
    ],
)
def test_times_the_prior_was_not_trained_on_are_refused_before_the_first_step(
    model, config, labels_of, total, offset, message
):
    with pytest.raises(ValueError, match=message):
        next(
            sample_song(
                model, plan_song(config, SAMPLES), _retimed(labels_of(0), total, offset), SongState.empty(2, [1])
            )
        )


def test_missing_upper_codes_and_labels_are_refused(model, config, labels_of):
    with pytest.raises(ValueError, match="level 0 is to be written from 40 codes of level 1, but 0 are there"):
        next(sample_song(model, plan_song(config, SAMPLES, levels=[0]), labels_of(0), SongState.empty(2, [1])))
    with pytest.raises(ValueError, match="labels are needed for each of the 2 songs"):
        next(sample_song(model, plan_song(config, SAMPLES), labels_of(0), SongState.empty(2, [1, 2])))


# --- states ---


def test_state_file_is_whole_or_the_older_one_stays(tmp_path, monkeypatch):
    path = tmp_path / "state.safetensors"
    older = SongState.empty(2, [3]).with_codes(1, 0, torch.arange(5))
    older.save(path)

    def no_space(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("jukebox_hf.model.files.atomic_files.os.fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        older.with_codes(0, 0, torch.arange(9)).save(path)
    assert _same(SongState.load(path), older)
    assert [file.name for file in tmp_path.iterdir()] == ["state.safetensors"]


def test_state_is_a_value(tmp_path):
    empty = SongState.empty(2, [3, 2**63])
    longer = empty.with_codes(0, 1, torch.arange(4))
    assert [len(codes) for codes in empty.codes[0]] == [0, 0]
    assert [len(codes) for codes in longer.codes[0]] == [0, 4]
    noted = replace(longer, notes={"model": "mine"})
    noted.save(tmp_path / "s")
    assert SongState.load(tmp_path / "s").notes == {"model": "mine"}
    assert SongState.load(tmp_path / "s").seeds == (3, 2**63)


@pytest.mark.parametrize("content", [b"", b"noise" * 20, None], ids=["empty", "noise", "other tensors"])
def test_what_is_no_state_is_refused(tmp_path, content):
    path = tmp_path / "state.safetensors"
    if content is None:
        save_file({"a": torch.zeros(1)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(
        ValueError, match="get the file again" if content == b"" else "give a state that jukebox_hf saved"
    ):
        SongState.load(path)


def test_codes_of_another_model_are_refused(model, config, labels_of):
    state = SongState.empty(2, [1]).with_codes(1, 0, torch.tensor([3, 24]))
    with pytest.raises(ValueError, match="codes of level 1 holds 24, but only 0 to 23 are allowed"):
        next(sample_song(model, plan_song(config, SAMPLES), labels_of(0), state))
    with pytest.raises(ValueError, match="the state has 3 levels, but the model has 2"):
        next(sample_song(model, plan_song(config, SAMPLES), labels_of(0), SongState.empty(3, [1])))


# --- labels that are mixed, or change ---


BOLD = SamplingSettings(5.0)  # so that codes differ wherever logits do


def _mixed(labels, level, artists=(), genres=()):
    """The labels with a mix of artists or genres at one level."""
    own = [replace(song, artist_mix=tuple(artists), genre_mix=tuple(genres)) for song in labels[level]]
    return [own if index == level else songs for index, songs in enumerate(labels)]


def test_a_mix_of_one_is_that_one_bit_for_bit(config, model, labels_of):
    plan, labels, state = plan_song(config, SAMPLES, settings=BOLD), labels_of(1), SongState.empty(2, (3,))
    alone = _run(model, plan, labels, state)
    for level in (0, 1):
        song = labels[level][0]
        artists = [LabelPart(song.artist_id, 1.0, 0), LabelPart(4, 0.0, 0)]
        genres = [LabelPart(genre, 1.0, 0) for genre in song.genre_ids]
        assert _same(_run(model, plan, _mixed(labels, level, artists, genres), state), alone)


def test_a_mix_lies_between_its_parts_and_is_neither(config, model):
    prior = model.prior(1)
    timing, lyrics = torch.tensor([[2000, 0, 192]]), torch.zeros(1, 12, dtype=torch.long)
    starts = [
        prior.condition(
            artist_ids=torch.tensor([artist]), genre_ids=torch.tensor([[2]]), timing=timing, lyric_ids=lyrics
        )
        for artist in (1, 3)
    ]
    mixed = prior.condition(
        artist_ids=torch.tensor([[1, -1, 3]]),
        genre_ids=torch.tensor([[2, 2]]),
        timing=timing,
        lyric_ids=lyrics,
        artist_weights=torch.tensor([[0.25, 9.0, 0.75]]),
        genre_weights=torch.tensor([[0.5, 0.5]]),
    )
    torch.testing.assert_close(mixed.start, 0.25 * starts[0].start + 0.75 * starts[1].start)


def test_another_style_is_heard_from_the_first_window_that_adds_codes_behind_its_second(config, model, labels_of):
    """Windows of the top level add codes from 0, 24 and 36 on; a code is 8 samples."""
    plan, labels, state = (
        plan_song(config, SAMPLES, hop_fractions={1: 0.5}, settings=BOLD),
        labels_of(1),
        SongState.empty(2, (3,)),
    )
    alone, song = _run(model, plan, labels, state), labels[1][0]
    other = [[replace(song, artist_id=4)] if level == 1 else songs for level, songs in enumerate(labels)]
    changes = [LabelPart(song.artist_id, 1.0, 0), LabelPart(4, 1.0, 24 * 8)]
    changed = _run(model, plan, _mixed(labels, 1, changes), state)
    assert torch.equal(changed.codes[1][0][:24], alone.codes[1][0][:24])
    assert not torch.equal(changed.codes[1][0][24:], alone.codes[1][0][24:])
    begun = state.with_codes(1, 0, alone.codes[1][0][:24])
    assert torch.equal(_run(model, plan, other, begun).codes[1][0], changed.codes[1][0])
    late = _mixed(labels, 1, [changes[0], LabelPart(4, 1.0, 36 * 8 + 1)])
    assert torch.equal(_run(model, plan, late, state).codes[1][0], alone.codes[1][0]), "no window begins behind it"


def test_songs_of_one_batch_may_mix_or_not(config, model, labels_of):
    plan, labels = plan_song(config, SAMPLES, settings=BOLD), labels_of(0, 1)
    mix = (LabelPart(2, 0.5, 0), LabelPart(3, 0.5, 0))
    labels = [[songs[0], replace(songs[1], artist_mix=mix)] for songs in labels]
    both = _run(model, plan, labels, SongState.empty(2, (1, 2)))
    for song in (0, 1):
        alone = _run(model, plan, [[songs[song]] for songs in labels], SongState.empty(2, (song + 1,)))
        assert torch.equal(alone.codes[1][0], both.codes[1][song])
    inputs = window_inputs(labels[1])
    assert inputs["artist_ids"].tolist() == [[0, -1], [2, 3]]
    assert inputs["artist_weights"].tolist() == [[1, 0], [0.5, 0.5]]
    assert "genre_weights" not in inputs


# --- a stretch that returns ---


def test_a_later_window_reads_an_earlier_stretch_in_place_of_its_oldest_codes(config, model, labels_of):
    """Windows of 24 codes begin at 0, 12, 24, 36 and 40; the stretch has codes 2 to 8, read from code 40 on."""
    plan = plan_song(config, 64 * 8, hop_fractions={1: 0.5}, settings=BOLD, levels=[1], recall=(16, 64, 320))
    assert plan.levels[0].recall == Recall(2, 8, 40)
    plainly = replace(plan, levels=(replace(plan.levels[0], recall=None),))
    labels, state = labels_of(1), SongState.empty(2, (3,))
    recalled, alone = _run(model, plan, labels, state).codes[1][0], _run(model, plainly, labels, state).codes[1][0]
    assert torch.equal(recalled[:48], alone[:48]), "a window that adds codes before 40 reads its own"
    assert not torch.equal(recalled[48:], alone[48:])
    start, known = 36, recalled[36:48]
    inputs = window_inputs([labels[1][0]], start * 8)
    read = torch.cat([recalled[2:8], known[6:]])
    tokens = model.prior(1).sequence(read[None], inputs["lyric_ids"])
    codes, _ = sample_window(
        model.prior(1),
        tokens,
        model.prior(1).condition(**inputs),
        24,
        BOLD,
        uniforms=uniforms([3], 1, start, start + 24),
    )
    assert torch.equal(codes[0, 12:], recalled[48:60])
    assert torch.equal(recalled[36:48], known), "what was read is not written"


def test_a_recalled_song_goes_on_from_any_window(config, model, labels_of):
    plan = plan_song(config, 64 * 8, hop_fractions={1: 0.5}, settings=BOLD, recall=(16, 64, None))
    assert plan.levels[0].recall == Recall(2, 8, 8)
    labels, start = labels_of(0, 1), SongState.empty(2, (3, 4))
    states = [progress.state for progress in sample_song(model, plan, labels, start)]
    assert len(states) > 6
    for state in states[:5]:
        assert _same(_run(model, plan, labels, state), states[-1])


def test_a_window_reads_a_stretch_from_the_code_on_that_was_said():
    recall, window = Recall(2, 8, 40), Window(20, 44)
    assert [recall.is_read_by(window, known) for known in (19, 20, 21)] == [False, True, True]
    assert not recall.is_read_by(Window(0, 44), 43), "it sees the stretch in its own place"


@pytest.mark.parametrize(
    ("recall", "sentence"),
    [
        ((16, 16, None), "recall reads codes 2 to 2 again from code 2 on; let the stretch hold at least one code"),
        ((16, 64, 8), "end before it is read again"),
        ((16, 64, 64 * 8), "recall from code 64 on is read by none of the 5 windows of this song, which is 64 codes"),
        ((0, 10 * 8, None), "recall of 10 codes is longer than the 9 that a window has room for; shorten it"),
    ],
)
def test_a_stretch_that_cannot_be_recalled_is_refused(config, recall, sentence):
    with pytest.raises(ValueError, match=sentence):
        plan_song(config, 64 * 8, hop_fractions={1: 0.5}, recall=recall)


def test_recall_is_of_the_level_that_no_other_stands_above(config):
    with pytest.raises(ValueError, match=r"which is not among the levels \[0\] to write; leave it out"):
        plan_song(config, SAMPLES, levels=[0], recall=(0, 8, None))
    with pytest.raises(ValueError, match=r"recall has nobody to read it: the song's 24 codes are one window"):
        plan_song(config, 24 * 8, recall=(0, 8, None))
