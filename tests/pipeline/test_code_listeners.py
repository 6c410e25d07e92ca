"""transformers' logits processors, stopping criteria and streamers, over codes: each acts, or is refused."""

import time

import pytest
import torch
from transformers import (
    ClassifierFreeGuidanceLogitsProcessor,
    EncoderRepetitionPenaltyLogitsProcessor,
    EpsilonLogitsWarper,
    LogitsProcessor,
    LogitsProcessorList,
    MaxLengthCriteria,
    MaxTimeCriteria,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    StoppingCriteria,
    StoppingCriteriaList,
    TemperatureLogitsWarper,
    TextStreamer,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)
from transformers.generation.streamers import BaseStreamer

from jukebox_hf import JukeboxPipeline

WORDS = {"lyrics": "a song of the first", "artist": "the testers", "genre": "soft rock", "seed": 5}
TOP = {"levels": [2], "max_new_tokens": 30, "return_codes": True}  # two windows of the top level


@pytest.fixture(scope="module")
def words(processor):
    return processor([WORDS, {**WORDS, "lyrics": "another", "seed": 9}])


# --- logits processors ---


@pytest.mark.parametrize(
    ("processor_of", "said"),
    [
        (TemperatureLogitsWarper(2.5), {"temperature": 2.5}),
        (TopKLogitsWarper(1), {"top_k": 1}),
        (TopPLogitsWarper(0.7), {"top_p": 0.7}),
        (MinPLogitsWarper(0.95), {"min_p": 0.95}),
        (EpsilonLogitsWarper(0.9), {"epsilon_cutoff": 0.9}),
    ],
)
def test_a_processor_of_transformers_does_what_our_own_argument_does(model, words, processor_of, said, same):
    found = model.generate(words, temperature=1.0, logits_processor=LogitsProcessorList([processor_of]), **TOP)
    assert same(found, model.generate(words, **{"temperature": 1.0, **said}, **TOP))
    assert not same(found, model.generate(words, temperature=1.0, **TOP))


class _Noting(LogitsProcessor):
    def __init__(self):
        self.seen = []

    def __call__(self, input_ids, scores):
        self.seen.append((input_ids.clone(), scores.clone()))
        return scores


def test_processors_see_all_codes_of_the_level_so_far_and_a_score_for_each_code(model, words):
    noting = _Noting()
    output = model.generate(words, logits_processor=noting, levels=[2, 1], max_new_tokens=30, return_codes=True)
    seen = [(ids, scores) for ids, scores in noting.seen]
    assert [ids.shape for ids, _ in seen] == [(2, n) for n in (*range(30), *range(120))]
    size = model.config.vqvae_config.codebook_size
    assert {tuple(scores.shape) for _, scores in seen} == {(2, size)}, "without the characters of lyrics"
    assert torch.equal(seen[29][0], output.codes[2][:, :29]), "in the second window too"
    assert torch.equal(seen[-1][0], output.codes[1][:, :119])


def test_a_repetition_penalty_knows_which_codes_were_sung(model, words, same):
    plain = model.generate(words, do_sample=False, **TOP)
    penalty = RepetitionPenaltyLogitsProcessor(1e6)
    found = model.generate(words, do_sample=False, logits_processor=[penalty, TypicalLogitsWarper(0.99)], **TOP)
    distinct = [len(row.unique()) for row in found.codes[2]]
    assert min(distinct) > max(len(row.unique()) for row in plain.codes[2])


def test_processors_and_guidance_go_together(model, words, same):
    said = {"temperature": 1.0, "guidance_scale": 2.0, **TOP}
    found = model.generate(words, logits_processor=[TopKLogitsWarper(5)], **said)
    assert same(found, model.generate(words, top_k=5, **said))


def test_a_streamed_song_takes_processors_too(model, processor):
    one = processor(WORDS)
    said = {"max_new_tokens": 20, "logits_processor": [TopKLogitsWarper(3)]}
    *_, last = model.stream(one, **said)
    output = model.generate(one, return_codes=True, **said)
    assert all(torch.equal(own[0], codes[0]) for own, codes in zip(last.state.codes, output.codes, strict=True))


@pytest.mark.parametrize(
    ("processors", "message"),
    [
        ([ClassifierFreeGuidanceLogitsProcessor(3.0)], "ClassifierFreeGuidanceLogitsProcessor.*say guidance_scale="),
        ([EncoderRepetitionPenaltyLogitsProcessor(2.0, torch.ones(1, 3).long())], "lyrics of a song are not among its"),
        ([3], "holds int, which is no logits processor"),
        ([TopKLogitsWarper], "which is no logits processor"),
        (3, "logits_processor=int cannot be called"),
        ([lambda ids, scores: scores[:, :3]], r"gave torch.float32 \(2, 3\) for scores \(2, "),
        ([lambda ids, scores: None], "gave NoneType"),
    ],
)
def test_processors_that_mean_nothing_are_refused(model, words, processors, message):
    with pytest.raises(ValueError, match=message):
        model.generate(words, logits_processor=processors, **TOP)


# --- stopping criteria ---


class _EndAt(StoppingCriteria):
    """Ends each song once it has so many codes."""

    def __init__(self, *counts):
        self.counts, self.seen = counts, []

    def __call__(self, input_ids, scores, **kwargs):
        self.seen.append(input_ids.clone())
        return torch.tensor([input_ids.shape[1] >= count for count in self.counts])


def test_songs_end_apart_and_finer_levels_refine_what_there_is(model, words):
    whole = model.generate(words, levels=[2], max_new_tokens=30, return_codes=True)
    criterion = _EndAt(9, 27)
    output = model.generate(words, max_new_tokens=30, stopping_criteria=[criterion], return_codes=True)
    assert output.audio_lengths.tolist() == [9 * 128, 27 * 128]
    assert [ids.shape for ids in criterion.seen] == [(2, n) for n in range(1, 28)], "the same rows to the end"
    for song, count in enumerate((9, 27)):
        top = output.codes[2][song, :count]
        assert torch.equal(top, whole.codes[2][song, :count])
        refined = model.generate(
            {name: value[song : song + 1] for name, value in words.items()},
            levels=[1, 0],
            codes={2: top},
            return_codes=True,
        )
        for level in (0, 1):
            length = refined.codes[level].shape[1]
            assert torch.equal(output.codes[level][song, :length], refined.codes[level][0])
            assert output.codes[level][song, length:].eq(-1).all()
        assert torch.allclose(output.audio[song, : count * 128], refined.audio[0], atol=1e-5)


def test_true_or_false_is_of_all_songs_and_a_criterion_that_never_holds_changes_nothing(model, words, same):
    found = model.generate(words, stopping_criteria=StoppingCriteriaList([MaxLengthCriteria(7)]), **TOP)
    assert found.codes[2].shape == (2, 7)
    found = model.generate(words, stopping_criteria=[lambda ids, scores: ids.shape[1] == 5], **TOP)
    assert found.codes[2].shape == (2, 5)
    never = model.generate(words, stopping_criteria=MaxTimeCriteria(1e9), max_new_tokens=30, return_codes=True)
    assert same(never, model.generate(words, max_new_tokens=30, return_codes=True))
    at_once = model.generate(words, stopping_criteria=[MaxTimeCriteria(1e-9, time.time() - 1)], **TOP)
    assert at_once.codes[2].shape == (2, 1), "no song without a code"


def test_an_upsampler_ends_at_a_whole_code_of_the_top_level(model, words):
    draft = model.generate(words, **TOP)
    output = model.generate(
        words, levels=[1, 0], codes=draft.codes, stopping_criteria=[MaxLengthCriteria(10)], return_codes=True
    )
    assert [codes.shape[1] for codes in output.codes] == [48, 12, 3]
    assert output.audio_lengths.tolist() == [3 * 128] * 2


def test_an_early_end_keeps_what_was_known_and_is_told_when_lyrics_are_sung(model, words):
    draft = model.generate(words, **{**TOP, "max_new_tokens": 8})
    output = model.generate(
        words, codes=draft.codes, stopping_criteria=[MaxLengthCriteria(3)], **{**TOP, "max_new_tokens": 9}
    )
    assert torch.equal(output.codes[2][:, :8], draft.codes[2])
    assert output.codes[2].shape == (2, 9), "asked after a code, not before the first"


class _Streamer(BaseStreamer):
    def __init__(self):
        self.got, self.ends = [], 0

    def put(self, value):
        assert self.ends == 0
        self.got.append(value.clone())

    def end(self):
        self.ends += 1


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"stopping_criteria": 5}, "stopping_criteria=int must be a StoppingCriteriaList, or a list"),
        ({"stopping_criteria": [5]}, "stopping_criteria holds int, which cannot end a song"),
        ({"stopping_criteria": [_EndAt]}, "which cannot end a song"),
        (
            {"stopping_criteria": [lambda ids, scores: ids < 0]},
            r"gave torch.bool \(2, 1\) for 2 songs; let it",
        ),
        ({"stopping_criteria": [lambda ids, scores: None]}, "function gave NoneType; let it give True or False"),
        ({"stopping_criteria": [lambda ids, scores: "yes"]}, "function gave str; let it give True or False"),
        ({"stopping_criteria": [lambda ids, scores: 0.5]}, r"function gave torch.float32 \(\) for 2 songs"),
        ({"stopping_criteria": [_EndAt(1, 2)], "streamer": _Streamer()}, "may end the 2 songs apart"),
        (
            {
                "stopping_criteria": [_EndAt(1, 2)],
                "parallel_windows": True,
                "levels": [1],
                "codes": {2: [[1], [1]]},
            },
            "end a song at a code, but parallel_windows=True writes level 1",
        ),
    ],
)
def test_criteria_that_cannot_end_a_song_are_refused(model, words, said, message):
    with pytest.raises(ValueError, match=message):
        model.generate(words, **{**({} if "codes" in said else TOP), **said})


# --- streamers ---


def test_a_streamer_gets_each_level_from_the_coarsest_what_is_known_and_then_code_by_code(model, words):
    streamer, draft = _Streamer(), model.generate(words, **{**TOP, "max_new_tokens": 3})
    output = model.generate(words, codes=draft.codes, max_new_tokens=27, streamer=streamer, return_codes=True)
    assert streamer.ends == 1
    opens = [place for place, value in enumerate(streamer.got) if value.dim() == 2]
    assert [tuple(streamer.got[place].shape) for place in opens] == [(2, 3), (2, 0), (2, 0)]
    for level, first, last in zip((2, 1, 0), opens, [*opens[1:], len(streamer.got)], strict=True):
        known, *codes = streamer.got[first:last]
        assert torch.equal(torch.cat([known, torch.stack(codes, dim=1)], dim=1), output.codes[level])


def test_a_streamer_follows_a_guided_song_that_ends_early(model, processor):
    streamer = _Streamer()
    output = model.generate(
        processor(WORDS),
        max_new_tokens=20,
        guidance_scale=2.0,
        stopping_criteria=[MaxLengthCriteria(6)],
        streamer=streamer,
        return_codes=True,
    )
    assert [len(streamer.got), streamer.ends] == [3 + 6 + 24 + 96, 1]
    assert torch.equal(torch.stack(streamer.got[1:7], dim=1), output.codes[2])


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"streamer": TextStreamer(None)}, "TextStreamer writes ids as text, but codes are no text"),
        ({"streamer": object()}, "streamer=object has no put and end"),
        ({"streamer": _Streamer}, "has no put and end"),
        ({"streamer": _Streamer(), "batch": 1}, r"batch=1 is less than the rows of the 2 songs \(1 each\)"),
        ({"streamer": _Streamer(), "batch": 3, "guidance_scale": 2}, r"rows of the 2 songs \(2 each\)"),
        ({"streamer": _Streamer(), "parallel_windows": True, "levels": None}, "a streamer gets codes in their order"),
    ],
)
def test_streamers_that_cannot_follow_are_refused_before_the_first_code(model, words, said, message, monkeypatch):
    monkeypatch.setattr(type(model), "lend", lambda *_: pytest.fail("was loaded"))
    with pytest.raises(ValueError, match=message):
        model.generate(words, **{**TOP, **said})


def test_songs_of_two_lengths_cannot_be_followed_by_one_streamer(model, processor):
    songs = processor([{**WORDS, "seconds": 0.05}, {**WORDS, "seconds": 0.06}])
    with pytest.raises(ValueError, match=r"the 2 songs differ in length, .* stream them one by one"):
        model.generate(songs, streamer=_Streamer())


def test_a_streamer_hears_no_half_of_a_batch_where_memory_runs_out(model, words, monkeypatch):
    from jukebox_hf.model.songs.level_sampler import LevelSampler

    def short(self, *_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(LevelSampler, "open", short)
    with pytest.raises(torch.OutOfMemoryError):
        model.generate(words, streamer=_Streamer(), **TOP)


def test_the_sound_of_a_song_is_streamed_without_either(model, processor):
    for name, value in (("stopping_criteria", [_EndAt(3)]), ("streamer", _Streamer())):
        with pytest.raises(ValueError, match=f"{name} is of generate"):
            model.stream(processor(WORDS), max_new_tokens=3, **{name: value})


@pytest.mark.parametrize("is_direct", [True, False])
def test_a_pipeline_hands_all_of_them_on(model, processor, is_direct):
    streamer = _Streamer()
    pipe = JukeboxPipeline(model, processor=processor)
    listeners = {"logits_processor": [TopKLogitsWarper(1)], "stopping_criteria": [MaxLengthCriteria(4)]}
    listeners = {**listeners, "streamer": streamer}
    song = pipe(
        WORDS, max_new_tokens=9, return_codes=True, **(listeners if is_direct else {"generate_kwargs": listeners})
    )
    assert len(song["audio"]) == 4 * 128
    assert streamer.ends == 1
    plain = pipe(WORDS, max_new_tokens=4, return_codes=True, do_sample=False)
    assert (song["codes"][2] == plain["codes"][2]).all()
