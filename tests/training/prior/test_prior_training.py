"""The command that trains priors: every kind, from codes and from sound, and what is refused before the first step."""

import json
import math

import numpy as np
import pytest
import soundfile
import torch
import yaml
from safetensors.torch import load_file
from transformers import Trainer, TrainingArguments

from jukebox_hf import JukeboxPrior, JukeboxPriorConfig
from jukebox_hf.data.audio_windows import AudioWindows
from jukebox_hf.data.code_shards import CodeShards
from jukebox_hf.data.code_windows import CodeWindows
from jukebox_hf.data.open_songs import open_songs
from jukebox_hf.model.inputs.labels import SongDescription, window_inputs
from jukebox_hf.model.inputs.tokenization_jukebox import JukeboxTokenizer
from jukebox_hf.model.songs.contrasts import told_less
from jukebox_hf.training import (
    JukeboxPriorTrainer,
    JukeboxPriorTrainingArguments,
    LabelDropout,
    PriorCollator,
    WithLabelDropout,
)
from jukebox_hf.training.encode_dataset import encode_dataset
from jukebox_hf.training.train_prior import main


def refusal(words, capsys):
    """Run a command that must be refused; what it said."""
    assert main(words) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("jukebox-hf: ")
    return said


def bits_of(prior, collator, windows, **replaced):
    """Bits per code of each window, its words replaced."""
    with torch.no_grad():
        return [float(prior(**collator([window | replaced])).code_loss) for window in windows]


def test_a_tiny_prior_learns_the_rule_of_each_artist(prior_words, tmp_path, coded_songs):
    words = prior_words(
        changes={"hidden_size": 32, "init_scale": 3.0},
        train_codes=coded_songs(64),
        max_steps=160,
        per_device_train_batch_size=16,
        learning_rate=1e-2,
        lr_scheduler_type="cosine",
        test_fraction=0.2,
        artist_dropout=0.1,
        original_adam=True,
    )
    assert main(words) == 0
    results = json.loads((tmp_path / "run" / "eval_results.json").read_text())
    unigram = math.log2(24)  # every code is equally frequent; the rule itself leaves 0.9 bits
    assert results["eval_bits_per_code"] < 0.5 * unigram
    assert results["eval_loss"] == pytest.approx(results["eval_bits_per_code"], rel=1e-4)  # there are no lyrics
    prior = JukeboxPrior.from_pretrained(tmp_path / "run").eval()
    tokenizer = JukeboxTokenizer.from_pretrained(tmp_path / "run")
    assert tokenizer.vocabularies["v3"].artists == {"unknown": 0, "ann ash": 1, "bob birch": 2}
    collator = PriorCollator(prior.config, tokenizer)
    data = CodeWindows(CodeShards(coded_songs(16)), 1, 4)
    windows = [data[item] for item in range(0, len(data), 4)]
    right = bits_of(prior, collator, windows)
    wrong = [
        bits_of(prior, collator, [w], artist="Bob Birch" if w["artist"] == "Ann Ash" else "Ann Ash")[0] for w in windows
    ]
    unknown = bits_of(prior, collator, windows, artist="unknown")
    assert np.mean(np.array(right) < np.array(wrong)) > 0.9
    assert np.mean(right) < np.mean(unknown) < np.mean(wrong)


def test_every_kind_of_prior_trains_and_becomes_a_folder_that_loads(flavour, prior_words, tmp_path):
    words = prior_words(flavour, test_fraction=0.3, weights_ema=True, label_dropout=0.2)
    assert main(words) == 0
    prior = JukeboxPrior.from_pretrained(tmp_path / "run")
    assert prior.config.has_labels == (flavour != "bare")
    results = json.loads((tmp_path / "run" / "eval_results.json").read_text())
    assert 4 < results["eval_bits_per_code"] < 9
    assert ("eval_bits_per_character" in results) == (flavour in ("prefix", "encoder"))
    assert (tmp_path / "run" / "artists.json").exists() == (flavour != "bare")
    assert json.loads((tmp_path / "run" / "trained_on.json").read_text())["fingerprint"] == "abc-abc"


def test_the_evaluation_is_the_mean_over_songs_even_where_batches_differ_in_size(tmp_path, tiny_prior, coded_config,
                                                                                 coded_songs):  # fmt: skip
    prior = tiny_prior("bare", level=1, hop_length=16)
    data = CodeWindows(CodeShards(coded_songs(16)), 1, 24, with_labels=False)
    part = torch.utils.data.Subset(data, range(7))
    arguments = JukeboxPriorTrainingArguments(
        output_dir=str(tmp_path), per_device_eval_batch_size=5, use_cpu=True, report_to="none", disable_tqdm=True
    )
    trainer = JukeboxPriorTrainer(prior, arguments, data_collator=PriorCollator(prior.config), eval_dataset=part)
    with torch.no_grad():
        expected = float(prior(codes=torch.stack([part[i]["codes"] for i in range(7)])).code_loss)
    assert trainer.evaluate()["eval_bits_per_code"] == pytest.approx(expected, rel=1e-5)
    assert trainer.predict(part).predictions is None  # the logits of a data set fill any memory


@pytest.fixture
def sounds(tmp_path):
    """A folder of eight recordings, one window of the tiny top prior long, with their words."""
    (tmp_path / "songs").mkdir()
    rows = ["file_name,artist,genre,lyrics"]
    for number in range(8):
        noise = np.random.default_rng(number).normal(0, 0.3, 24 * 16)
        soundfile.write(tmp_path / "songs" / f"{number}.wav", noise, 1000, subtype="FLOAT")
        rows.append(f"{number}.wav,{('Ann Ash', 'Bob Birch')[number % 2]},folk,la la")
    (tmp_path / "songs" / "metadata.csv").write_text("\n".join(rows))
    return tmp_path / "songs"


@pytest.mark.parametrize("flavour", ["prefix", "upsampler"])
def test_sound_trains_as_its_codes_do_and_the_vqvae_stays_outside(flavour, sounds, coding_vqvae, prior_words, tmp_path):
    coding_vqvae.save_pretrained(tmp_path / "vqvae")
    encode_dataset(str(sounds), tmp_path / "codes", str(tmp_path / "vqvae"))
    # One window a song, so that encoding the window is encoding the song.
    common = {"max_steps": 2, "shift": None, "label_dropout": 0.3, "save_strategy": "steps", "save_steps": 1}
    if flavour == "upsampler":
        common["changes"] = {"context_length": 96}
    for name, data in (
        ("codes", {"train_codes": tmp_path / "codes"}),
        ("sound", {"train_songs": sounds, "vqvae": tmp_path / "vqvae"}),
    ):
        assert main(prior_words(flavour, output_dir=tmp_path / f"from_{name}", **common, **data)) == 0
    one, two = (load_file(tmp_path / f"from_{name}" / "model.safetensors") for name in ("codes", "sound"))
    assert all(torch.equal(one[key], two[key]) for key in one)
    saved = load_file(tmp_path / "from_sound" / "checkpoint-2" / "model.safetensors")
    assert saved.keys() == one.keys()
    assert not any("encoders" in key or "codebook" in key for key in saved)


def test_the_vqvae_is_frozen_and_gives_codes_of_the_level_and_of_the_one_above(coding_vqvae, coded_config, tmp_path):
    config = coded_config("upsampler", num_artists=0, num_genres=0)
    arguments = JukeboxPriorTrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    trainer = JukeboxPriorTrainer(
        JukeboxPrior(config), arguments, data_collator=PriorCollator(config), vqvae=coding_vqvae.train()
    )
    assert not coding_vqvae.training
    assert not any(parameter.requires_grad for parameter in coding_vqvae.parameters())
    sound = torch.randn(2, 1, 96)
    batch = trainer._prepare_inputs({"input_values": sound})
    assert set(batch) == {"codes", "upper_codes"}
    for ours, theirs in zip(
        (batch["codes"], batch["upper_codes"]), coding_vqvae.encode(sound).audio_codes, strict=True
    ):
        assert torch.equal(ours, theirs)
    assert not any("vqvae" in name for name, _ in trainer.model.named_parameters())


@pytest.mark.parametrize(
    "flags",
    [
        {"bf16": True},
        {"activation_checkpointing": True},
        {"torch_compile": True, "torch_compile_backend": "eager"},
        {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 2},
    ],
    ids=lambda flags: next(iter(flags)),
)
def test_options_of_speed_and_memory_train_the_same(flags, prior_words, tmp_path):
    for name, extra in (("plain", {}), ("other", flags)):
        assert main(prior_words("prefix", max_steps=1, output_dir=tmp_path / name, **extra)) == 0
    losses = [
        json.loads((tmp_path / name / "trainer_state.json").read_text())["log_history"][0]["loss"]
        for name in ("plain", "other")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-2 if "bf16" in flags else 1e-4)


def test_a_file_of_values_will_do(prior_words, tmp_path):
    words = prior_words("labelled", max_steps=1)
    values = dict(zip((word.removeprefix("--") for word in words[::2]), words[1::2], strict=True))
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(values))
    assert main([str(tmp_path / "run.yaml"), "--window_codes", "12", "--lr_scheduler_type", "cosine"]) == 0
    assert (tmp_path / "run" / "model.safetensors").exists()


# --- label dropout ---


class Words(torch.utils.data.Dataset):
    """2000 windows with words."""

    def __len__(self):
        return 2000

    def __getitem__(self, item):
        return {"artist": "a", "genre": "g", "lyrics": "l", "lyric_times": ((0, 1),), "item": item}


def test_labels_are_dropped_as_often_as_asked_for_and_alike_in_every_process():
    dropout = LabelDropout(label_dropout=0.1, artist_dropout=0.2, lyric_dropout=0.3)
    windows = WithLabelDropout(Words(), dropout, seed=4)
    seen = [windows[item] for item in range(2000)]
    hidden = np.array([(w["artist"] == "unknown", w["genre"] == "unknown", w["lyrics"] == "") for w in seen])
    assert hidden.mean(axis=0) == pytest.approx([1 - 0.9 * 0.8, 0.1, 1 - 0.9 * 0.7], abs=0.03)
    assert hidden[hidden[:, 1]].all()  # genres are hidden only together with all else
    assert all((w["lyric_times"] is None) == (w["lyrics"] == "") for w in seen)
    assert [windows[item] for item in reversed(range(2000))] == seen[::-1]
    windows.set_epoch(1)
    assert [windows[item] for item in range(2000)] != seen
    assert Words()[3]["artist"] == "a"


def test_artist_and_genre_are_hidden_together_with_lyrics_kept_and_older_draws_stay():
    both = WithLabelDropout(Words(), LabelDropout(artist_genre_dropout=0.2), seed=4)
    seen = [both[item] for item in range(2000)]
    assert {(w["artist"], w["genre"], w["lyrics"]) for w in seen} == {("a", "g", "l"), ("unknown", "unknown", "l")}
    assert np.mean([w["artist"] == "unknown" for w in seen]) == pytest.approx(0.2, abs=0.03)
    older = WithLabelDropout(Words(), LabelDropout(label_dropout=0.1, lyric_dropout=0.3), seed=4)
    silent = [item for item in range(40) if older[item]["lyrics"] == ""]
    assert silent == [3, 4, 8, 9, 10, 12, 15, 18, 19, 20, 21, 22, 23, 24, 31, 37], "as before there was a fifth draw"


@pytest.mark.parametrize("filler", [None, 5])
def test_what_training_hides_is_what_guidance_compares_with(filler):
    """The same ids, whether a window of training is told less or a song that is guided."""
    config = JukeboxPriorConfig(
        level=1,
        codebook_size=24,
        context_length=24,
        hop_length=8,
        sampling_rate=1000,
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        attention_rows=4,
        max_genres=2,
        num_artists=2,
        num_genres=2,
        timing_bins=8,
        min_song_seconds=0.1,
        max_song_seconds=10.0,
        lyrics="prefix",
        lyric_length=12,
        lyric_vocab_size=79,
        lyric_filler=filler,
        attention_kinds=("row", "column", "previous_row", "lyrics_prefix"),
    )
    words = {"artists": {"v3": {"unknown": 0, "a": 1}}, "genres": {"v3": {"unknown": 0, "g": 1}}}
    tokenizer = JukeboxTokenizer(**words, label_versions=["v3", "v3"])
    told = {"artist": "a", "genre": "g", "lyrics": "la la", "lyric_times": None}
    hiding = {("labels",): "artist_genre_dropout", ("lyrics",): "lyric_dropout", ("labels", "lyrics"): "label_dropout"}

    def inputs(words, hidden=()):
        song = SongDescription(2000, words["artist"], words["genre"], words["lyrics"])
        return window_inputs([told_less(tokenizer.labels(song, config), hidden)])

    for hidden, option in hiding.items():
        less = LabelDropout(**{option: 1.0}).hide(told, np.full(5, 0.5))
        trained, guided = inputs(less), inputs(told, hidden)
        assert all(torch.equal(trained[name], guided[name]) for name in ("artist_ids", "genre_ids", "lyric_ids"))
        assert any(not torch.equal(guided[name], plain) for name, plain in inputs(told).items())


# --- refusals ---


@pytest.mark.parametrize(
    ("flavour", "replaced", "sentence"),
    [
        ("labelled", {"config": None}, "config=None and model_name_or_path=None: give exactly one of them"),
        ("labelled", {"config": "large"}, "name='large' is not a preset"),
        ("labelled", {"train_codes": None}, "train_codes=None and train_songs=None: give exactly one of them"),
        ("labelled", {"train_songs": "songs"}, "train_songs='songs' is sound, which a VQ-VAE must encode"),
        ("labelled", {"eval_songs": "songs"}, "both must be codes or both sound"),
        ("labelled", {"train_codes": "nowhere"}, "nowhere has no codes.json, so it holds no finished codes"),
        ("labelled", {"label_dropout": 1.5}, "label_dropout=1.5 must be a probability from 0 to 1"),
        ("labelled", {"window_codes": 25}, "window_codes=25 is longer than the prior's context_length=24"),
        ("upsampler", {"window_codes": 22}, "window_codes=22 must be a multiple of 4"),
        ("labelled", {"blend": True}, "blend=True mixes left and right, but train_codes holds no sound"),
        ("labelled", {"labels": "keep"}, "labels='keep' needs lists of artists and genres, but this model has none"),
        ("labelled", {"labels": "nowhere"}, "labels='nowhere' is none of keep, add, songs and no folder"),
        ("labelled", {"lora_rank": 4}, "lora_rank=4 adapts trained weights, but config names a new prior"),
        ("labelled", {"level": 1}, "level=1 is of a whole Jukebox named by model_name_or_path"),
        ("labelled", {"shared_positions": True}, "shared_positions=True joins lyric positions and times in the song"),
        ("labelled", {"tied_query_key": True}, "tied_query_key=True is for layers of kind lyrics_prefix"),
        ("labelled", {"into": "nowhere"}, "into='nowhere' does not exist, and there is no whole Jukebox to copy"),
        ("labelled", {"lora_alpha": 4}, "lora_alpha=4.0 is of adapters, but lora_rank=0 trains all weights"),
        ("labelled", {"changes": {"codebook_size": 32}}, "codebook_size of the prior of level 1 is 32, but its codes"),
        ("labelled", {"changes": {"hop_length": 8}}, "hop_length of the prior of level 1 is 8, but its codes have 16"),
        ("labelled", {"changes": {"sampling_rate": 2000}}, "sampling_rate of the prior of level 1 is 2000, but its"),
        ("labelled", {"changes": {"level": 3}}, "level=3 is not a level of this model"),
        ("upsampler", {"changes": {"upper_strides": (2,)}}, "codes per upper code of the prior of level 0 is 2, but"),
        ("labelled", {"replay_share": 1.0}, "replay_share=1.0 must be from 0 (no old songs) to under 1"),
        ("labelled", {"replay_share": 0.3}, "replay_share=0.3 is of replay_codes, which is not said, so it would do"),
        ("labelled", {"shared_positions_std": 0.5}, "shared_positions_std=0.5 is of shared_positions, which is not"),
        ("labelled", {"train_songs": "songs", "replay_codes": "old"}, "replay_codes='old' are codes, but train_songs="),
        ("labelled", {"eval_windows": 0}, "eval_windows=0 must be positive"),
        ("labelled", {"eval_windows": 3}, "eval_windows=3 is of songs to evaluate on, and there are none; say test_"),
        ("labelled", {"early_stop": 2}, "early_stop=2 counts evaluations, but eval_strategy='no' makes none"),
        ("prefix", {"changes": {"lyric_vocab_size": 11}}, "lyric_vocab_size=11 is of no label version; choose 80 (v2)"),
        ("labelled", {"changes": {"context_length": 120}}, "none of the 16 songs has a window of 120 codes at level 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_refused_in_a_sentence(flavour, replaced, sentence, prior_words, capsys, tmp_path):
    assert sentence in refusal(prior_words(flavour, **replaced), capsys)
    assert not (tmp_path / "run" / "trained_on.json").exists()


def test_songs_without_words_and_lyrics_that_are_too_long_are_refused(
    sounds, coding_vqvae, prior_words, tmp_path, capsys
):
    coding_vqvae.save_pretrained(tmp_path / "vqvae")
    wider = prior_words("prefix", {"codebook_size": 32}, train_songs=sounds, vqvae=tmp_path / "vqvae")
    assert "codebook_size of the prior of level 1 is 32, but its codes have 24" in refusal(wider, capsys)
    words = prior_words("prefix", train_songs=sounds, vqvae=tmp_path / "vqvae")
    table = (sounds / "metadata.csv").read_text()
    (sounds / "metadata.csv").write_text(table.replace("la la", "la " * 50, 1))
    assert "0.wav have 149 characters, but its 0.4 s can hold about 19" in refusal(words, capsys)
    (sounds / "metadata.csv").write_text(table.replace("file_name,artist", "file_name,singer"))
    assert "has no column artist; a prior needs artist, genre and lyrics" in refusal(words, capsys)
    for codebook in coding_vqvae.codebooks:
        codebook.codes.zero_()
    coding_vqvae.save_pretrained(tmp_path / "vqvae")
    assert "codebooks of the VQ-VAE were never trained" in refusal(words, capsys)


def test_codes_of_another_vqvae_are_refused_wherever_they_could_slip_in(prior_words, coded_songs, capsys, tmp_path):
    other = coded_songs(16, 72, "xyz")
    said = refusal(prior_words(eval_codes=other), capsys)
    assert "were made by another VQ-VAE (fingerprint xyz-xyz)" in said
    assert main(prior_words(max_steps=1, save_strategy="steps", save_steps=1)) == 0
    said = refusal(prior_words(train_codes=other, resume_from_checkpoint="auto", max_steps=2), capsys)
    assert "fingerprint xyz-xyz) than the run in" in said
    tuned = prior_words(config=None, model_name_or_path=tmp_path / "run", output_dir=tmp_path / "tuned")
    assert main(tuned) == 0
    tuned = prior_words(config=None, model_name_or_path=tmp_path / "run", train_codes=other, output_dir=tmp_path / "no")
    assert "were made by another VQ-VAE" in refusal(tuned, capsys)


def test_windows_without_words_are_refused_by_the_trainer(tmp_path, coded_config, coded_songs):
    config = coded_config("labelled", num_artists=3, num_genres=3)
    tokenizer = JukeboxTokenizer(
        artists={"v3": {"unknown": 0}}, genres={"v3": {"unknown": 0}}, label_versions=["v3", "v3"]
    )
    arguments = JukeboxPriorTrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    data = CodeWindows(CodeShards(coded_songs()), 1, 24, with_labels=False)
    trainer = JukeboxPriorTrainer(
        JukeboxPrior(config), arguments, data_collator=PriorCollator(config, tokenizer), train_dataset=data
    )
    with pytest.raises(
        ValueError, match="windows have codes, but no 'total_samples'; open the songs with their words; "
    ):
        trainer.train()
    with pytest.raises(ValueError, match="tokenizer=None, but this prior is conditioned on artists"):
        PriorCollator(config)


def test_int8_is_refused_by_the_trainer_too(tmp_path, coded_config, coded_songs):
    quantization = pytest.importorskip("torchao.quantization", reason='needs pip install "jukebox_hf[quant]"')
    config = coded_config("labelled", num_artists=0, num_genres=0)
    prior = JukeboxPrior(config)
    quantization.quantize_(prior.transformer.layers, quantization.Int8WeightOnlyConfig())
    arguments = JukeboxPriorTrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    data = CodeWindows(CodeShards(coded_songs()), 1, 24, with_labels=False)
    trainer = JukeboxPriorTrainer(prior, arguments, data_collator=PriorCollator(config), train_dataset=data)
    with pytest.raises(ValueError, match="the prior's matrices are int8, which cannot be trained; give the one that"):
        trainer.train()


def test_windows_of_several_lengths_are_no_batch(coded_config):
    windows = [{"codes": torch.zeros(length, dtype=torch.long)} for length in (24, 16)]
    config = coded_config("labelled", num_artists=0, num_genres=0)
    assert PriorCollator(config)(windows[:1])["codes"].shape == (1, 24)
    with pytest.raises(ValueError, match="codes of the windows of a batch have lengths 16, 24, but must be equally"):
        PriorCollator(config)(windows)


def test_columns_that_a_plain_trainer_takes_away_are_missed_in_a_sentence(
    tmp_path, coded_config, coded_songs, sounds, coding_vqvae
):
    tokenizer = JukeboxTokenizer(
        artists={"v3": {"unknown": 0}}, genres={"v3": {"unknown": 0}}, label_versions=["v3", "v3"]
    )
    coded = CodeWindows(CodeShards(coded_songs()), 1, 24)
    heard = AudioWindows(open_songs(sounds), 24 * 16, 1000)
    labels = {"num_artists": 1, "num_genres": 1}
    for size, kind, data, more, said in (
        (labels, Trainer, coded, {}, "windows have codes, but no 'total_samples'"),
        (labels, JukeboxPriorTrainer, coded, {}, "windows have codes, but no 'total_samples'"),
        ({"num_artists": 0, "num_genres": 0}, JukeboxPriorTrainer, heard, {"vqvae": coding_vqvae}, "have no column"),
    ):
        config = coded_config("labelled", **size)
        collator = PriorCollator(config, tokenizer if config.has_labels else None)
        for cure in ({}, {"remove_unused_columns": False}):
            how = {"max_steps": 1, "use_cpu": True, "report_to": "none", "disable_tqdm": True, **cure}
            arguments = TrainingArguments(output_dir=str(tmp_path), **how)
            trainer = kind(JukeboxPrior(config), arguments, data_collator=collator, train_dataset=data, **more)
            if cure:
                trainer.train()
                continue
            with pytest.raises(ValueError, match=f"{said}.*pass remove_unused_columns=False"):
                trainer.train()


def test_the_measure_of_the_best_prior_is_refused_where_no_evaluation_finds_it(prior_words, tmp_path, capsys):
    steps = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    words = {"load_best_model_at_end": True, "test_fraction": 0.3, "max_steps": 1, **steps}
    said = refusal(prior_words(metric_for_best_model="bits_per_character", **words), capsys)
    assert "metric_for_best_model='bits_per_character' is none of what an evaluation finds: loss, bits" in said
    assert main(prior_words("prefix", metric_for_best_model="eval_bits_per_character", **words)) == 0
    state = json.loads((tmp_path / "run" / "checkpoint-1" / "trainer_state.json").read_text())
    assert state["best_global_step"] == 1


def test_a_schedule_that_does_not_take_its_arguments_is_named(prior_words, capsys):
    for schedule, how in (("linear", '{"a": 1}'), ("linear", "nonsense"), ("warmup_stable_decay", None)):
        said = refusal(prior_words(lr_scheduler_type=schedule, lr_scheduler_kwargs=how), capsys)
        assert "does not take lr_scheduler_kwargs=" in said
        assert schedule in said
