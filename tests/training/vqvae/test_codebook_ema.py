"""Codebooks follow the encoders by moving averages, whatever a batch is cut into."""

import dataclasses
import math

import pytest
import torch

from jukebox_hf.model.networks.codebook import Codebook
from jukebox_hf.model.sampling.sampling_ops import uniforms
from jukebox_hf.training.vqvae import codebook_ema
from jukebox_hf.training.vqvae.codebook_ema import CodebookEMA, CodebookSettings
from jukebox_hf.training.vqvae.vector_sample import VectorSample

K, C = 16, 4


def latents_of(songs=4, codes=20, seed=0):
    return torch.randn(songs, C, codes, generator=torch.Generator().manual_seed(seed))


def codebook_of(seed=1):
    codebook = Codebook(K, C)
    codebook.codes.copy_(torch.randn(K, C, generator=torch.Generator().manual_seed(seed)))
    return codebook


def distances_to(rows, codes):
    return (codes[:, None] - rows).norm(dim=2).amin(dim=1)


def moved(settings, pieces, steps=1):
    """A codebook after some steps whose batch came in pieces."""
    codebook, ema = codebook_of(), CodebookEMA(settings)
    for step in range(steps):
        latents = latents_of(seed=step)
        if not ema.has_started:
            ema.start([codebook], [latents[:1]])
        for piece in latents.chunk(pieces):
            ema.add([codebook], [piece], [codebook.nearest(piece)[0]], step)
        metrics = ema.apply([codebook], step)
    return codebook.codes.clone(), ema, metrics


def test_a_step_is_the_moving_average_of_sums_and_counts():
    codebook, ema = codebook_of(), CodebookEMA(CodebookSettings(decay=0.9, restart_threshold=-1.0))
    latents = latents_of()
    codes = codebook.nearest(latents)[0]
    old, rows = codebook.codes.clone(), latents.transpose(1, 2).reshape(-1, C)
    ema.start([codebook], [latents])
    ema.add([codebook], [latents], [codes], step=0)
    ema.apply([codebook], step=0)
    for code in range(K):
        own = rows[codes.flatten() == code]
        count = 0.9 * 20 / K + 0.1 * len(own)
        total = 0.9 * 20 / K * old[code] + 0.1 * own.sum(0)
        assert float(ema.counts[0][code]) == pytest.approx(count, rel=1e-5)
        assert torch.allclose(codebook.codes[code], total / count, atol=1e-5)


@pytest.mark.parametrize("threshold", [-1.0, 1.0, 100.0])
def test_how_a_batch_is_cut_never_changes_a_codebook(threshold):
    settings = CodebookSettings(restart_threshold=threshold)
    whole, whole_ema, whole_metrics = moved(settings, pieces=1, steps=3)
    parts, parts_ema, parts_metrics = moved(settings, pieces=4, steps=3)
    assert torch.allclose(whole, parts, atol=1e-6)
    assert torch.allclose(whole_ema.counts[0], parts_ema.counts[0], atol=1e-5)
    assert set(whole_metrics) == {"entropy", "used_curr", "usage", "dk", "fit", "pn"}
    for name, value in whole_metrics.items():
        assert float(value) == pytest.approx(float(parts_metrics[name]), rel=1e-5), name


@pytest.mark.parametrize(("ranks", "pieces"), [(2, 1), (1, 3), (2, 3), (3, 2), (3, 4)])
def test_ranks_and_micro_batches_together_draw_what_one_batch_draws(ranks, pieces, monkeypatch):
    """Piece m of rank r holds the songs that stand at place m * ranks + r of the joined batch."""
    codebook, latents = codebook_of(), latents_of(songs=ranks * pieces, codes=30)

    def gathered(ranks, rank, songs):
        monkeypatch.setattr(codebook_ema, "_world_size", lambda: ranks)
        monkeypatch.setattr(codebook_ema, "_rank", lambda: rank)
        ema = CodebookEMA(CodebookSettings(restart_threshold=100.0))
        ema.set_level(0, codebook.codes, torch.ones(K))
        for song in songs:
            ema.add([codebook], [song], [codebook.nearest(song)[0]], step=5)
        return ema._gathered[0]

    whole = gathered(1, 0, [latents])
    parts = [gathered(ranks, rank, latents.split(1)[rank::ranks]) for rank in range(ranks)]
    joined = VectorSample(K)
    for part in parts:
        joined.add(part.sample._vectors, part.sample._priorities)
    assert torch.equal(joined._priorities, whole.sample._priorities)
    assert torch.equal(joined._vectors, whole.sample._vectors)
    assert torch.equal(sum(part.counts for part in parts), whole.counts)


def test_dead_codes_become_latents_of_the_batch_that_the_seed_decides():
    dead = {seed: moved(CodebookSettings(restart_threshold=100.0, seed=seed), pieces=1)[0] for seed in (0, 1)}
    rows = latents_of().transpose(1, 2).reshape(-1, C)
    for codes in dead.values():
        assert (distances_to(rows, codes) < 1e-6).all()
        assert len(torch.unique(codes, dim=0)) == K
    assert not torch.equal(dead[0], dead[1])
    again = moved(CodebookSettings(restart_threshold=100.0, seed=0), pieces=2)[0]
    assert torch.equal(dead[0], again)


def test_other_latents_are_drawn_in_every_step():
    codebook, ema, latents = codebook_of(), CodebookEMA(CodebookSettings(restart_threshold=100.0)), latents_of()
    ema.start([codebook], [latents])
    drawn = []
    for step in range(2):
        ema.add([codebook], [latents], [codebook.nearest(latents)[0]], step)
        ema.apply([codebook], step)
        drawn.append(codebook.codes.clone())
    assert not torch.equal(*drawn)


def test_a_revived_code_keeps_its_count_as_in_the_original_unless_start_count_says_otherwise():
    _, kept, metrics = moved(CodebookSettings(restart_threshold=100.0), pieces=1)
    assert float(metrics["usage"]) == 0
    assert float(kept.counts[0].max()) < 100
    codes, renewed, _ = moved(CodebookSettings(restart_threshold=100.0, start_count=1.5), pieces=1)
    assert (renewed.counts[0] == 150).all()
    assert torch.allclose(renewed.sums[0], codes * 150)


def test_small_batches_kill_all_codes_by_the_originals_threshold_and_none_by_a_share():
    usage = {}
    few = [latents_of(songs=1, codes=8, seed=step % 3) for step in range(30)]
    for name, settings in {
        "original": CodebookSettings(),
        "share": CodebookSettings(restart_share=0.1, start_count=1.05),
    }.items():
        codebook, ema = Codebook(K, C), CodebookEMA(settings)
        for step, latents in enumerate(few):
            if step == 0:
                ema.start([codebook], [latents])
            ema.add([codebook], [latents], [codebook.nearest(latents)[0]], step)
            usage[name] = float(ema.apply([codebook], step)["usage"])
    assert usage["original"] <= 3
    assert usage["share"] >= 12


def test_the_share_follows_the_batch():
    ema = CodebookEMA(CodebookSettings(restart_share=0.1))
    assert ema._threshold(num_latents=320, size=K) == pytest.approx(0.1 * 320 / K)
    assert CodebookEMA()._threshold(num_latents=320, size=K) == 1.0


def test_codes_drawn_at_the_start_begin_with_the_count_that_start_count_says():
    latents = latents_of()
    codebook, ema = Codebook(K, C), CodebookEMA(CodebookSettings(decay=0.5, restart_share=0.1, start_count=6.0))
    ema.start([codebook], [latents])
    assert (ema.counts[0] == 1).all()  # the batch of a step is known only after the step
    codes, old = codebook.nearest(latents)[0], codebook.codes.clone()
    ema.add([codebook], [latents], [codes], step=0)
    ema.apply([codebook], step=0)
    expected = 0.5 * 6.0 * 0.1 * 80 / K + 0.5 * torch.bincount(codes.flatten(), minlength=K)
    assert torch.allclose(ema.counts[0], expected)
    drawn = latents.transpose(1, 2).reshape(-1, C)
    own = torch.stack([drawn[codes.flatten() == code].sum(0) for code in range(K)])
    assert torch.allclose(ema.sums[0], 0.5 * 6.0 * 0.1 * 80 / K * old + 0.5 * own, atol=1e-5)
    ema.add([codebook], [latents], [codes], step=1)
    ema.apply([codebook], step=1)  # only once: from then on a code's count is its own
    assert torch.allclose(ema.counts[0], 0.5 * expected + 0.5 * torch.bincount(codes.flatten(), minlength=K))


def test_untrained_codebooks_are_drawn_from_the_batch_and_trained_ones_are_kept():
    untrained, trained, latents = Codebook(K, C), codebook_of(), latents_of()
    before = trained.codes.clone()
    ema = CodebookEMA()
    ema.start([untrained, trained], [latents, latents])
    rows = latents.transpose(1, 2).reshape(-1, C)
    assert (distances_to(rows, untrained.codes) < 1e-6).all()
    assert torch.equal(trained.codes, before)
    assert (ema.counts[0] == 1).all()
    assert torch.allclose(ema.counts[1], torch.full((K,), 20 / K))  # one song's codes over all, whatever the batch
    assert torch.allclose(ema.sums[1], before * 20 / K)


def test_fewer_latents_than_codes_are_repeated_with_a_little_noise():
    codebook, latents = Codebook(K, C), latents_of(songs=1, codes=5)
    CodebookEMA().start([codebook], [latents])
    rows = latents.transpose(1, 2).reshape(-1, C)
    distances = distances_to(rows, codebook.codes)
    assert (distances > 0).all()
    assert float(distances.square().mean().sqrt()) == pytest.approx(0.01, rel=0.4)  # 0.01 / sqrt(C) in each direction
    assert len(torch.unique(codebook.codes, dim=0)) == K


def test_latents_that_are_not_finite_stop_the_run_and_spare_the_codebook():
    codebook, ema, latents = codebook_of(), CodebookEMA(), latents_of()
    before = codebook.codes.clone()
    ema.start([codebook], [latents])
    latents[0, 0, 0] = math.nan
    ema.add([codebook], [latents], [codebook.nearest(latents)[0]], step=7)
    with pytest.raises(FloatingPointError, match="level 0 gave latents that are not finite at step 7; lower"):
        ema.apply([codebook], step=7)
    assert torch.equal(codebook.codes, before)


def test_a_step_without_a_forward_changes_nothing():
    codebook, ema = codebook_of(), CodebookEMA()
    before = codebook.codes.clone()
    assert ema.apply([codebook], step=0) == {}
    assert torch.equal(codebook.codes, before)


def test_saved_statistics_go_on_where_they_were_and_fit_only_their_own_codebooks():
    settings = CodebookSettings(restart_threshold=100.0)  # all codes are drawn, so every counter of the draws shows
    _, ema, _ = moved(settings, pieces=1)
    again = CodebookEMA(settings)
    again.load_state_dict(ema.state_dict(), [codebook_of()])
    assert again.has_started
    assert torch.equal(again.sums[0], ema.sums[0])
    assert torch.equal(again.counts[0], ema.counts[0])
    again.add([codebook_of()], [latents_of(seed=9)], [torch.zeros(4, 20, dtype=torch.long)], step=8)
    again.load_state_dict(ema.state_dict(), [codebook_of()])  # what was gathered since is no part of it
    codebooks = [codebook_of(), codebook_of()]
    for one, codebook in zip((ema, again), codebooks, strict=True):
        one.add([codebook], [latents_of(seed=3)], [codebook.nearest(latents_of(seed=3))[0]], step=1)
        one.apply([codebook], step=1)
    assert torch.equal(codebooks[0].codes, codebooks[1].codes)
    assert torch.equal(ema.sums[0], again.sums[0])
    with pytest.raises(ValueError, match=r"statistics are .*\(16, 4\).*, but this model needs .*\(8, 4\)"):
        again.load_state_dict(ema.state_dict(), [Codebook(8, 4)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decay": 1.0}, r"codebook_decay=1.0 must be from 0 to under 1; try 0.99"),
        ({"restart_threshold": math.nan}, "restart_threshold=nan must be a number from 0 on; -1 never restarts"),
        ({"restart_threshold": -3.0}, "restart_threshold=-3.0 must be a number from 0 on; -1 never restarts"),
        ({"restart_threshold": 2.0, "restart_share": 0.1}, "restart_threshold=2.0 counts nothing beside restart_share"),
        ({"restart_share": 2.0}, "restart_share=2.0 must lie between 0 and 1"),
        ({"decay": -0.01}, r"codebook_decay=-0.01 must be from 0"),
        ({"restart_share": 0}, "restart_share=0 must lie between 0 and 1"),
        ({"restart_share": 1}, "restart_share=1 must lie between 0 and 1"),
        ({"start_count": 0.5}, "start_count=0.5 must be at least 1 threshold"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        CodebookSettings(**changes)


def test_settings_at_the_edges_are_taken_and_can_not_be_changed_later():
    settings = CodebookSettings(decay=0, start_count=1)
    assert (settings.decay, settings.start_count) == (0, 1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.decay = 0.5


def test_metrics_of_a_step_are_what_their_names_say():
    """Two codes on the axes, three latents of two dimensions; every number by hand."""
    codebook = Codebook(3, 2)
    codebook.codes.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]))
    rows, codes = torch.tensor([[3.0, 0.0], [1.0, 0.0], [0.0, 2.0]]), torch.tensor([[0, 0, 1]])
    ema = CodebookEMA(CodebookSettings(decay=0.5, restart_threshold=0.5))
    ema.set_level(0, codebook.codes, torch.tensor([1.0, 0.0, 1.0]))
    ema.add([codebook], [rows.T[None]], [codes], step=0)
    found = {name: float(value) for name, value in ema.apply([codebook], step=0).items()}
    # Counts (1.5, 0.5, 0.5): all alive, for a count at the threshold is enough; sums (2.5, 0), (0, 1), (4.5, 4.5).
    assert torch.allclose(codebook.codes, torch.tensor([[5 / 3, 0.0], [0.0, 2.0], [9.0, 9.0]]))
    assert found == pytest.approx(
        {
            "entropy": -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3)),
            "used_curr": 2,
            "usage": 3,
            "fit": (4 + 0 + 1) / 3,
            "pn": math.sqrt(14 / 6 - 1),
            "dk": math.sqrt((2 / 3) ** 2 + 1) / math.sqrt(6),
        },
        rel=1e-5,
    )
    assert all(value.dtype == torch.float32 for value in (ema.sums[0], ema.counts[0]))


def test_a_code_that_is_hardly_used_keeps_its_average_and_an_unused_one_its_vector():
    codebook, ema = codebook_of(), CodebookEMA(CodebookSettings(decay=0.5, restart_threshold=-1.0))
    old = codebook.codes.clone()
    ema.set_level(0, codebook.codes, torch.tensor([0.01] + [0.0] * (K - 1)))
    ema.sums[0][0] = 0.01 * 7
    ema.add([codebook], [latents_of(songs=1, codes=3)], [torch.full((1, 3), 5)], step=0)
    ema.apply([codebook], step=0)
    assert torch.allclose(codebook.codes[0], torch.full((C,), 7.0))
    assert torch.equal(codebook.codes[1], old[1])


def test_given_codes_are_not_drawn_so_that_start_count_leaves_their_counts():
    codebook, latents = codebook_of(), latents_of()
    ema = CodebookEMA(CodebookSettings(decay=0.5, restart_threshold=-1.0, start_count=2.0))
    ema.set_level(0, codebook.codes, torch.full((K,), 4.0))
    codes = codebook.nearest(latents)[0]
    ema.add([codebook], [latents], [codes], step=0)
    ema.apply([codebook], step=0)
    assert torch.allclose(ema.counts[0], 2 + 0.5 * torch.bincount(codes.flatten(), minlength=K))


def test_codebooks_of_some_levels_draw_and_are_saved_under_their_own_levels():
    drawn = []

    def draw(purpose, step, level, start, stop):
        drawn.append((purpose, step, level))
        return torch.linspace(0, 0.9, stop - start, dtype=torch.float64)

    codebook, latents, ema = Codebook(K, C), latents_of(), CodebookEMA(draw=draw, levels=[2])
    ema.start([codebook], [latents])
    ema.add([codebook], [latents], [codebook.nearest(latents)[0]], step=4)
    ema.apply([codebook], step=4)
    assert {("start", 0, 2), ("restart", 4, 2)} <= set(drawn)
    assert {level for _, _, level in drawn} == {2}
    assert set(ema.state_dict()) == {"level_2.sums", "level_2.counts"}
    again = CodebookEMA(levels=[2])
    again.load_state_dict(ema.state_dict(), [codebook])
    assert torch.equal(again.counts[0], ema.counts[0])


def test_every_draw_has_a_counter_of_its_own():
    ema = CodebookEMA(CodebookSettings(seed=7))
    purposes = ("start", "restart", "start_noise", "restart_noise")
    for number, purpose in enumerate(purposes):
        counter = (5 * 4 + number) << 40  # of step 5; more latents than that have no step
        assert torch.equal(ema._draw(purpose, 5, 2, 3, 9), uniforms([7], 2, counter + 3, counter + 9)[0])
    firsts = [float(ema._draw(purpose, step, 0, 0, 1)) for step in range(4) for purpose in purposes]
    assert len(set(firsts)) == 16
