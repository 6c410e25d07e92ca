"""LoRA: only adapters learn, they are saved small and resumed, and merge into an ordinary prior."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from jukebox_hf import JukeboxPrior
from jukebox_hf.training import LoRAArguments, merged_prior, with_adapters
from jukebox_hf.training.train_prior import main

pytest.importorskip("peft")


@pytest.fixture
def trained(prior_words, tmp_path):
    """The folder of a trained prior."""
    assert main(prior_words("prefix", max_steps=2, output_dir=tmp_path / "base")) == 0
    return tmp_path / "base"


def enliven_adapters(model):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(0, 0.3)


@pytest.mark.parametrize("flavour", ["labelled", "prefix", "encoder", "upsampler"])
def test_only_adapters_have_gradients_and_merging_changes_nothing(flavour, tiny_prior, inputs_for):
    prior = tiny_prior(flavour)
    inputs = inputs_for(prior.config)
    before = prior(**inputs).logits
    model = with_adapters(prior, LoRAArguments(lora_rank=4)).eval()
    assert torch.equal(model(**inputs).logits, before)  # they begin without effect
    enliven_adapters(model)
    output = model(**inputs)
    assert not torch.allclose(output.logits, before, atol=1e-2)
    output.loss.backward()
    with_gradients = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert with_gradients == {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert all("lora_" in name for name in with_gradients)
    depth = prior.config.num_hidden_layers + (
        prior.config.lyric_encoder_num_hidden_layers if flavour == "encoder" else 0
    )
    cross = list(prior.config.attention_kinds).count("lyrics_cross")
    assert len(with_gradients) == 2 * (4 * depth + cross)  # every matrix of every layer
    merged = merged_prior(model)
    assert type(merged) is JukeboxPrior
    assert not any("lora_" in name for name, _ in merged.named_parameters())
    assert torch.allclose(merged(**inputs).logits, output.logits, atol=1e-4)
    assert torch.equal(model(**inputs).logits, output.logits)  # the adapted one is as it was


def test_adapters_are_saved_small_and_the_merged_prior_samples(prior_words, trained, tmp_path, inputs_for):
    words = prior_words(config=None, model_name_or_path=trained, lora_rank=2, save_strategy="steps", save_steps=1,
                        weights_ema=True)  # fmt: skip
    assert main(words) == 0
    saved = load_file(tmp_path / "run" / "checkpoint-3" / "adapter_model.safetensors")
    assert len(saved) == 2 * 4 * 4
    assert all("lora_" in name for name in saved)
    assert not (tmp_path / "run" / "checkpoint-3" / "model.safetensors").exists()
    assert (tmp_path / "run" / "adapters" / "adapter_model.safetensors").exists()
    text = (tmp_path / "run" / "adapters" / "adapter_config.json").read_text()
    assert str(tmp_path) not in text  # no path of this machine travels
    base, prior = (JukeboxPrior.from_pretrained(folder).eval() for folder in (trained, tmp_path / "run"))
    assert base.state_dict().keys() == prior.state_dict().keys()
    moved = {name for name, tensor in prior.state_dict().items() if not torch.equal(tensor, base.state_dict()[name])}
    assert moved
    assert all(".layers." in name and name.endswith("weight") for name in moved)
    inputs = inputs_for(prior.config)
    codes = inputs.pop("codes")
    with torch.no_grad():
        conditioning = prior.condition(**inputs)
        tokens = prior.sequence(codes[:, :4], inputs["lyric_ids"])
        logits = prior.prefill(tokens, conditioning, prior.new_cache(2))[:, -1:]
    assert logits.isfinite().all()


def test_a_resumed_run_ends_as_the_uninterrupted_one(prior_words, trained, tmp_path, capsys):
    def words(name, **extra):
        flags = {"lora_rank": 2, "lora_labels": True, "lora_dropout": 0.1, "label_dropout": 0.2, **extra}
        return prior_words(config=None, model_name_or_path=trained, output_dir=tmp_path / name,
                           save_strategy="steps", save_steps=2, lr_scheduler_type="constant", **flags)  # fmt: skip

    assert main(words("whole", max_steps=4)) == 0
    assert main(words("stopped", max_steps=2)) == 0
    assert main(words("stopped", max_steps=4, resume_from_checkpoint="auto")) == 0
    for name in ("model", "adapters/adapter_model", "checkpoint-4/adapter_model"):
        one, two = (load_file(tmp_path / run / f"{name}.safetensors") for run in ("whole", "stopped"))
        assert all(torch.equal(one[key], two[key]) for key in one), name
    base = JukeboxPrior.from_pretrained(trained).state_dict()
    assert not torch.equal(one["base_model.model.labels.artist.weight"], base["labels.artist.weight"])
    none = {"lora_rank": 0, "lora_labels": False, "lora_dropout": 0.0}
    for extra, said in (({"lora_rank": 3}, "lora_rank=3"), (none, "lora_rank=0")):
        assert main(words("stopped", max_steps=5, resume_from_checkpoint="auto", **extra)) == 2
        error = capsys.readouterr().err
        assert f"was written with lora_rank=2, lora_labels=True, not with {said}" in error
    other = JukeboxPrior.from_pretrained(trained)
    with torch.no_grad():
        other.lm_head.weight[0, 0] += 1 / 64
    other.save_pretrained(tmp_path / "other")
    for lists in ("artists.json", "genres.json", "tokenizer_config.json"):
        shutil.copy(trained / lists, tmp_path / "other")
    assert main([*words("stopped", max_steps=5, resume_from_checkpoint="auto"),
                 "--model_name_or_path", str(tmp_path / "other")]) == 2  # fmt: skip
    assert "learnt its adapters for other weights than those of model_name_or_path; give" in capsys.readouterr().err
    checkpoint = max((tmp_path / "stopped").glob("checkpoint-*"))
    assert main([*words("elsewhere", max_steps=5, resume_from_checkpoint=str(checkpoint)),
                 "--model_name_or_path", str(tmp_path / "other")]) == 2  # fmt: skip
    assert "learnt its adapters for other weights" in capsys.readouterr().err


def test_new_names_need_embeddings_that_learn(prior_words, trained, coded_songs, tmp_path, capsys):
    tokens = json.loads((trained / "artists.json").read_text())
    del tokens["v3"]["bob birch"]
    (trained / "artists.json").write_text(json.dumps(tokens))
    words = {"config": None, "model_name_or_path": trained, "lora_rank": 2, "labels": "add", "max_steps": 1}
    assert main(prior_words(**words)) == 2
    assert "labels brings 1 new names, such as ['bob birch'], but lora_labels=False" in capsys.readouterr().err
    assert main(prior_words(**words, lora_labels=True)) == 0
    assert JukeboxPrior.from_pretrained(tmp_path / "run").config.num_artists == 3


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"lora_rank": -1}, "lora_rank=-1 must be 0"),
        ({"lora_alpha": 0.0}, "lora_alpha=0.0 must be positive"),
        ({"lora_dropout": 1.0}, "lora_dropout=1.0 must be from 0 to under 1"),
    ],
)
def test_impossible_settings_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        LoRAArguments(**settings)


def test_labels_of_a_prior_without_any_are_refused(tiny_prior):
    with pytest.raises(ValueError, match="lora_labels=True, but this prior has no labels"):
        with_adapters(tiny_prior("bare"), LoRAArguments(lora_rank=2, lora_labels=True))


@pytest.mark.parametrize("rank", [17, 1_000_000])
def test_a_rank_that_no_matrix_has_is_refused_before_it_takes_memory(rank, tiny_prior):
    prior = tiny_prior("prefix")
    wide = max(min(m.in_features, m.out_features) for m in prior.transformer.modules() if isinstance(m, nn.Linear))
    with pytest.raises(ValueError, match=f"lora_rank={rank + wide} is more than any matrix of this prior has, {wide}"):
        with_adapters(prior, LoRAArguments(lora_rank=rank + wide))
    assert with_adapters(prior, LoRAArguments(lora_rank=wide)) is not None


@pytest.mark.parametrize("given", [{"lora_alpha": 4.0}, {"lora_dropout": 0.1}, {"lora_labels": True}])
def test_settings_of_adapters_need_adapters(given):
    name, value = next(iter(given.items()))
    with pytest.raises(ValueError, match=f"{name}={value} is of adapters, but lora_rank=0 trains all weights; give"):
        LoRAArguments(**given)
    assert LoRAArguments(lora_rank=2, **given).is_wanted
