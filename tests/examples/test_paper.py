"""The experiments with what the paper found: each arm at toy size, the hierarchy that is compared with, the table."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from examples.paper.experiment import ARMS, ROWS, ArmRow, ToySizes, read_rows, run
from examples.paper.hierarchy import HierarchicalVQVAE, TopAlone
from examples.paper.measures import LevelMeasures, measure, with_other_top_codes
from examples.paper.page import FINDINGS, Finding, as_table, main

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "what_the_paper_found.md"
MEASURED = ROOT / "examples" / "paper" / ROWS
TINY = ToySizes(seconds=8, test_seconds=6, window_samples=1152, batch=2, steps=3, measured=1, codes=8, width=4,
                hierarchy_width=4)  # fmt: skip


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    out, said = tmp_path_factory.mktemp("paper"), []
    found = run(out, ARMS, [0], TINY, said.append)
    assert [json.loads(line)["arm"] for line in said] == list(ARMS)
    assert read_rows(out / ROWS) == found
    said.clear()
    assert run(out, ARMS, [0], TINY, said.append) == found, "rows that are there are not made again"
    assert said == []
    more = run(out, ARMS[:1], [0, 1], TINY, said.append)
    assert more[: len(found)] == found, "another seed goes on with the songs that are there"
    assert [json.loads(line)["seed"] for line in said] == [1]
    assert more[-1].levels != found[0].levels
    return {row.arm: row for row in found}


def test_every_arm_is_measured_at_every_level_and_along_the_way(rows):
    for arm, row in rows.items():
        assert [level.level for level in row.levels] == [0, 1, 2]
        assert [point["step"] for point in row.curve] == [3]
        for level in row.levels:
            assert 0 <= level.entropy <= 3
            assert 1 / 8 <= level.used <= 1
            assert (level.convergence is None) == (arm == "one hierarchy" and level.level == 1)
        assert (row.other_top is None) == (arm != "one hierarchy")


def test_an_arm_differs_from_the_paper_in_what_its_name_says(rows):
    """The first measures of an arm without restarts are the same until a code would have restarted; losses differ."""
    separate = [rows[arm] for arm in ARMS[:3]]
    assert len({row.parameters for row in separate}) == 1
    assert rows["paper"].levels != rows["no spectral loss"].levels
    assert rows["paper"].levels != rows["no restarts"].levels


@pytest.fixture
def hierarchy(tiny_vqvae_config):
    torch.manual_seed(0)
    model = HierarchicalVQVAE(tiny_vqvae_config()).eval()
    for codebook in model.codebooks:
        codebook.codes.normal_()
    return model


def test_codes_of_a_hierarchy_are_chosen_from_the_top_down(hierarchy):
    """Another top codebook changes the codes below; another bottom codebook changes none above."""
    audio = 0.3 * torch.randn(2, 1, 1056)
    before = hierarchy(audio, return_loss=False)
    assert [codes.shape[1] for codes in before.audio_codes] == [1056 // hop for hop in hierarchy.config.hop_lengths]
    hierarchy.codebooks[0].codes.mul_(-1)
    after = hierarchy(audio, return_loss=False)
    assert torch.equal(before.audio_codes[2], after.audio_codes[2])
    assert torch.equal(before.audio_codes[1], after.audio_codes[1])
    assert not torch.equal(before.audio_values, after.audio_values)
    hierarchy.codebooks[2].codes.mul_(-1)
    assert not torch.equal(hierarchy(audio, return_loss=False).latents[1], after.latents[1])


def test_a_hierarchy_decodes_its_own_codes_to_what_its_forward_gives(hierarchy):
    audio = 0.3 * torch.randn(2, 1, 1056)
    out = hierarchy(audio, return_loss=False)
    for codes in (out.audio_codes, [None] * 3):
        assert torch.allclose(hierarchy.decode_together(audio, codes), out.audio_values, atol=1e-6)
    swapped = with_other_top_codes(hierarchy, audio)
    same = torch.cat([audio[:1], audio[:1]])
    assert with_other_top_codes(hierarchy, same) != swapped


def test_gradients_of_a_hierarchy_reach_every_block_through_the_codes(hierarchy):
    hierarchy.train()(0.3 * torch.randn(2, 1, 1056)).loss.backward()
    assert all(parameter.grad is not None for parameter in hierarchy.parameters())


def test_what_decodes_the_top_codes_alone_knows_nothing_else(hierarchy):
    alone = TopAlone(hierarchy, hidden_size=4)
    assert not {name.split(".")[0] for name, _ in alone.named_parameters()} - {"decoder"}
    audio = 0.3 * torch.randn(1, 1, 1056)
    hierarchy.codebooks[0].codes.mul_(-1)
    one = alone(audio).audio_values
    hierarchy.codebooks[0].codes.mul_(-1)
    assert torch.equal(one, alone(audio).audio_values)
    assert len(measure(hierarchy, audio, alone)) == 3


def test_a_finding_is_shown_by_all_seeds_by_the_mean_or_not_at_all():
    finding = Finding("less is better", "no restarts", "error", 0, wants_less=True)

    def verdict(*errors):
        arms = ["paper", "paper", "no restarts", "no restarts"]
        return finding.verdict([
            ArmRow(arm, seed, 1.0, 10, [LevelMeasures(0, 1.0, 1.0, -3.0, error, 0.5)], [])
            for seed, (arm, error) in enumerate(zip(arms, errors, strict=False))
        ])  # fmt: skip

    assert verdict(0.1, 0.2, 0.3, 0.4) == "yes"
    assert verdict(0.1, 0.35, 0.3, 0.4) == "in the mean"
    assert verdict(0.4, 0.5, 0.3, 0.4) == "no"
    assert verdict(0.1, 0.2) == "not measured"


def test_the_page_is_told_and_drawn(rows, tmp_path, capsys):
    run(tmp_path, [], [], TINY, print)
    file = tmp_path / ROWS
    from examples.paper.experiment import _write_rows

    _write_rows(tmp_path, rows.values())
    assert main([str(file), str(tmp_path / "curves.png")]) == 0
    told = capsys.readouterr().out
    assert told.startswith(as_table(list(rows.values())))
    assert "with the top codes of another window" in told
    assert (tmp_path / "curves.png").stat().st_size > 5000


def test_the_table_of_the_page_is_what_was_measured():
    table = as_table(read_rows(MEASURED))
    assert table in PAGE.read_text(encoding="utf-8")
    assert table.count("\n") == len(FINDINGS) + 1


def test_an_arm_that_is_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="arms='two' is none of paper, no restarts"):
        run(tmp_path, ["two"], [0], replace(TINY, steps=1), print)
