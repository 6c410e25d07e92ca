"""A trained prior goes to the Hub through the Trainer, with a card that says what it is; nothing is really sent."""

from types import SimpleNamespace

import pytest
import transformers.trainer
import yaml
from safetensors.torch import load_file

from jukebox_hf.training.prior.model_card import prior_card
from jukebox_hf.training.train_prior import main


@pytest.fixture
def sent(monkeypatch):
    """What was sent: (files by name, arguments) of each upload."""
    uploads = []

    class Hub:
        def create_repo(self, name, **kwargs):
            return SimpleNamespace(repo_id=name)

        def upload_folder(self, folder_path, **kwargs):
            from pathlib import Path

            files = {path.name: path.read_bytes() for path in Path(folder_path).iterdir() if path.is_file()}
            uploads.append((files, kwargs))

    monkeypatch.setattr(transformers.trainer, "hf_api", Hub)
    return uploads


def test_a_prior_is_pushed_with_its_lists_and_a_card(prior_words, sent, tmp_path):
    words = prior_words("prefix", test_fraction=0.3, push_to_hub=True, hub_model_id="me/my-prior", weights_ema=True,
                        weights_ema_decay=0.5)  # fmt: skip
    assert main(words) == 0
    files, arguments = sent[-1]
    assert arguments["repo_id"] == "me/my-prior"
    assert {"README.md", "model.safetensors", "config.json", "artists.json", "genres.json"} <= set(files)
    _, front, text = files["README.md"].decode().split("---\n", 2)
    card = yaml.safe_load(front)
    assert (card["pipeline_tag"], card["library_name"], card["license"]) == ("text-to-audio", "transformers", "other")
    assert "jukebox" in card["tags"]
    assert "top prior for level 1" in text
    assert "bits_per_code" in text
    assert "on held-out songs, after 3 steps" in text
    assert str(tmp_path) not in files["README.md"].decode()
    # What is published is the moving average, as the original published it.
    (tmp_path / "sent.safetensors").write_bytes(files["model.safetensors"])
    published = load_file(tmp_path / "sent.safetensors")
    saved = load_file(tmp_path / "run" / "model.safetensors")
    assert all((published[name] == saved[name]).all() for name in saved)


def test_what_the_hub_gets_are_the_averages_and_checkpoints_hold_the_weights(prior_words, sent, tmp_path):
    words = prior_words("bare", push_to_hub=True, hub_model_id="me/my-prior", weights_ema=True, weights_ema_decay=0.9,
                        save_strategy="steps", save_steps=3, hub_strategy="end")  # fmt: skip
    assert main(words) == 0
    (tmp_path / "sent.safetensors").write_bytes(sent[-1][0]["model.safetensors"])
    published = load_file(tmp_path / "sent.safetensors")
    averages = load_file(tmp_path / "run" / "checkpoint-3" / "weights_ema.safetensors")
    weights = load_file(tmp_path / "run" / "checkpoint-3" / "model.safetensors")
    name = "transformer.layers.0.mlp.up.weight"
    assert (published[name] == averages[name]).all()
    assert not (published[name] == weights[name]).all()


def test_a_card_that_somebody_wrote_stays_and_our_own_is_written_anew(prior_words, tmp_path):
    card, words = tmp_path / "run" / "README.md", prior_words("bare")
    assert main(words) == 0
    assert "after 3 steps" in card.read_text()
    assert main(prior_words("bare", max_steps=2)) == 0
    assert "after 2 steps" in card.read_text()
    card.write_bytes("# Mine \xe9".encode("latin-1"))
    assert main(words) == 0
    assert card.read_bytes() == b"# Mine \xe9"


def test_a_card_names_the_base_only_where_it_is_on_the_hub(coded_config, tmp_path):
    config = coded_config("upsampler")
    card = prior_card("mine", config, [], "openai/jukebox-1b-lyrics", has_adapters=True)
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["base_model"] == "openai/jukebox-1b-lyrics"
    assert "lora" in front["tags"]
    assert "A Jukebox upsampler for level 0" in card
    assert "the codes of level 1" in card
    assert "Not measured." in card
    assert "base_model" not in prior_card("mine", config, [], str(tmp_path))
