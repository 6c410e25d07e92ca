"""What training logged and the evaluation measured is kept in the repository, and the model card says the same."""

import csv
import json
import math
from pathlib import Path

import pytest
from matplotlib.image import imread

import jukebox_hf
from examples.tiny import curves
from examples.tiny.card import BEGIN, END, missed, with_table
from examples.tiny.card import main as write_card
from examples.tiny.curves import PRIOR_PARTS, VQVAE_PARTS, curve, read_log
from examples.tiny.parts import weights_in
from examples.tiny.report import Row, as_markdown, read, save

ROOT = Path(__file__).parents[2]
LOGS = ROOT / "examples" / "tiny" / "logs"
PARTS = {part for chain in (*VQVAE_PARTS, *PRIOR_PARTS) for part in chain}


@pytest.fixture
def run(tmp_path):
    """The folder of a run whose parts logged two steps each."""
    for number, part in enumerate(sorted(PARTS)):
        logged = [
            {"step": step, "bits_per_code": 9.0 - step / 10 + number, "loss": 1 / 3, "epoch": 0.5}
            | {f"multispectral_loss_l{level}": 1 / (step + level) for level in (1, 2, 3)}
            for step in (10, 20)
        ]
        told = [*logged, {"step": 20, "epoch": 1.0, "total_flos": 7.0, "train_runtime": 3.0}]
        (tmp_path / "run" / part).mkdir(parents=True)
        (tmp_path / "run" / part / "trainer_state.json").write_text(json.dumps({"log_history": told}))
    evaluated = {"eval_bits_per_code": 4.125, "eval_runtime": 9.0, "eval_samples_per_second": 1.0}
    (tmp_path / "run" / "prior_0" / "eval_results.json").write_text(json.dumps(evaluated))
    return tmp_path / "run"


def test_logs_are_kept_step_by_step_and_drawn(run, tmp_path):
    assert curves.main([str(run), str(tmp_path / "logs"), str(tmp_path / "curves.png")]) == 0
    assert {path.stem for path in (tmp_path / "logs").iterdir()} == PARTS
    with (tmp_path / "logs" / "prior_0.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["10", "20", "20"]
    assert [row["eval_bits_per_code"] for row in rows] == ["", "", "4.125"]
    assert rows[0]["loss"] == "0.333333"
    assert not {"total_flos", "train_runtime", "eval_runtime", "eval_samples_per_second"} & set(rows[0])
    assert imread(tmp_path / "curves.png").std() > 0.05  # something is drawn


def test_a_part_that_goes_on_stands_behind_the_one_before(run):
    logs = {part: read_log(run / part) for part in ("prior_0_start", "prior_0_next", "prior_0")}
    steps, values = zip(*curve(logs, PRIOR_PARTS[0], "bits_per_code"), strict=True)
    assert steps == (10, 20, 30, 40, 50, 60)
    assert values[0] - values[1] == pytest.approx(1.0)
    assert curve(logs, PRIOR_PARTS[0], "eval_bits_per_code") == [(60, 4.125)]


def test_an_unfinished_run_is_refused_and_nothing_is_written(run, tmp_path, capsys):
    (run / "prior_1" / "trainer_state.json").unlink()
    assert curves.main([str(run), str(tmp_path / "logs"), str(tmp_path / "curves.png")]) == 2
    assert "prior_1 has no trainer_state.json; let examples/tiny/train.sh finish it first" in capsys.readouterr().err
    assert not (tmp_path / "logs").exists()


def test_the_card_gets_the_table_between_its_marks(tmp_path, capsys):
    rows = [Row("a", 0.5, "%", 0.85, note="x"), Row("b", 3.0, "bits", 3.5, None, True), Row("c", math.nan, "%", 0.5)]
    save(rows, {}, tmp_path / "evaluation.json")
    card = tmp_path / "CARD.md"
    card.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    for _ in range(2):  # the second time changes nothing
        assert write_card([str(tmp_path), str(tmp_path / "logs"), str(card)]) == 0
        text = card.read_text()
        assert text.startswith(f"before\n{BEGIN}\n\n{as_markdown(rows)}\n\n**Missed**: a (50.0 % of 85.0 %).\n")
        assert text.endswith(f"{END}\nafter\n")
        assert "old" not in text
    assert missed(rows[1:]) == "No goal was missed."
    card.write_text("no marks")
    assert write_card([str(tmp_path), str(tmp_path / "logs"), str(card)]) == 2
    assert "must have the lines" in capsys.readouterr().err
    assert write_card([str(tmp_path / "none"), str(tmp_path / "logs"), str(card)]) == 2
    assert "run examples.tiny.evaluate first" in capsys.readouterr().err


def test_the_model_card_says_what_was_measured():
    rows, weights = read(LOGS / "evaluation.json")
    card = (ROOT / "MODEL_CARD.md").read_text()
    assert card == with_table(card, rows), "run examples.tiny.card again"
    assert len(rows) > 30
    tiny = Path(jukebox_hf.tiny_repository())
    assert weights == weights_in(tiny, tiny), "the table is of other weights than the package's; measure these"


def test_every_part_of_the_recipe_has_its_log():
    assert {path.stem for path in LOGS.glob("*.csv")} == PARTS
    for part in PARTS:
        wanted = (ROOT / "examples" / "tiny" / f"{part}.yaml").read_text()
        with (LOGS / f"{part}.csv").open() as file:
            last = int(list(csv.DictReader(file))[-1]["step"])
        assert f"max_steps: {last}\n" in wanted, part
