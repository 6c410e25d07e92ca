"""`jukebox-hf train-vqvae`: train a VQ-VAE on songs.

Flows in: flags, or a YAML file and flags. Flows out: a model folder, checkpoints, and an exit code. Run it under
`accelerate launch` or `torchrun` for several devices.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from transformers import set_seed
from transformers.utils import logging

from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.configuration.configuration_jukebox import JukeboxVQVAEConfig
from jukebox_hf.model.configuration.presets import vqvae_preset
from jukebox_hf.model.networks.modeling_jukebox_vqvae import JukeboxVQVAE
from jukebox_hf.training.checkpoints import check_fits, check_same_configuration
from jukebox_hf.training.commands import check_output_dir, checkpoint_to_resume, read_arguments, run, train_as_told
from jukebox_hf.training.run_record import RunRecord
from jukebox_hf.training.vqvae.bandwidth import MEASURED_FIELDS, measure_bandwidth, spread_windows
from jukebox_hf.training.vqvae.vqvae_arguments import AudioArguments, JukeboxVQVAETrainingArguments, VQVAEModelArguments
from jukebox_hf.training.vqvae.vqvae_trainer import JukeboxVQVAETrainer, check_window_samples, check_windows

logger = logging.get_logger(__name__)
_LOSS_ENDINGS = ("_weight", "_loss", "_bandwidth", "_bands", "linf_top_k")


def main(words: Sequence[str] | None = None) -> int:
    """Train as the words of a command line say."""
    return run(lambda: train_as_told(train_vqvae, read_arguments(ARGUMENT_CLASSES, words), "a trained VQ-VAE"))


ARGUMENT_CLASSES = (VQVAEModelArguments, AudioArguments, JukeboxVQVAETrainingArguments)


def train_vqvae(
    model_args: VQVAEModelArguments, data_args: AudioArguments, training_args: JukeboxVQVAETrainingArguments
) -> None:
    """Train, evaluate where there are songs for it, and save the model in `output_dir`.

    Raises:
        ValueError: anything that would stop the first step, in one sentence.
    """
    training_args.codebook_settings()  # refuses bad numbers before anything is loaded
    check_output_dir(
        training_args.output_dir,
        JukeboxVQVAEConfig.model_type,
        model_name_or_path=model_args.model_name_or_path,
        config=model_args.config,
        train_songs=data_args.train_songs,
        eval_songs=data_args.eval_songs,
    )
    folder = checkpoint_to_resume(training_args)
    config = _configuration(model_args, folder)
    if data_args.streaming:
        require(
            training_args.max_steps > 0,
            f"max_steps={training_args.max_steps}, but a stream has no end; say after how many steps to stop",
        )
    train, evaluation = _windows(data_args, config, training_args)
    check_windows("train_songs", train, config)
    is_new = folder is None and model_args.model_name_or_path is None
    if is_new and data_args.bandwidth_seconds > 0:
        seconds = _window_samples(data_args, config) / config.sampling_rate
        wanted = max(1, round(data_args.bandwidth_seconds / seconds))
        heard = _stream(data_args, config, training_args.seed) if data_args.streaming else train  # equal on all ranks
        measure_bandwidth(spread_windows(heard, wanted)).write_to(config)
    set_seed(training_args.seed)  # the same first weights in every run and on every rank
    is_trained = model_args.model_name_or_path is not None
    model = _trained_model(model_args.model_name_or_path, config) if is_trained else JukeboxVQVAE(config)
    if folder is not None:
        check_fits(model, folder)
    known = [] if data_args.streaming else (train.songs[index] for index in range(len(train.songs)))
    record = RunRecord.of(known, training_args.seed)
    if folder is not None:
        record.compare(Path(folder).parent, tell=training_args.should_log)
    trainer = JukeboxVQVAETrainer(model, training_args, train_dataset=train, eval_dataset=evaluation)
    if training_args.should_save:
        record.keep(Path(training_args.output_dir), is_new=folder is None)
    trainer.train(resume_from_checkpoint=folder)
    trainer.save_model()
    trainer.save_state()
    if evaluation is not None:
        trainer.save_metrics("eval", trainer.evaluate())
    if not data_args.streaming and (report := train.songs.report()):
        logger.warning(report)


def _configuration(model_args: VQVAEModelArguments, folder: Path | None) -> JukeboxVQVAEConfig:
    """A resumed run keeps the configuration it began with, measured loudness included.

    Raises:
        ValueError: no such configuration, or a checkpoint of another one.
    """
    if folder is not None and (path := _path_of(model_args)) is not None and not path.exists():
        return JukeboxVQVAEConfig.from_pretrained(folder)  # what it was begun with has been moved
    asked = _asked_configuration(model_args)
    if folder is None:
        return asked
    found = JukeboxVQVAEConfig.from_pretrained(folder)
    measured = MEASURED_FIELDS if model_args.model_name_or_path is None else ()
    check_same_configuration(found, asked, folder, apart_from=measured)
    return found


def _asked_configuration(model_args: VQVAEModelArguments) -> JukeboxVQVAEConfig:
    if model_args.model_name_or_path is not None:
        config = JukeboxVQVAEConfig.from_pretrained(model_args.model_name_or_path)
        return _overridden(config, model_args.config_overrides, is_trained=True)
    if (path := _path_of(model_args)) is not None:
        require(
            path.exists(), f"config={model_args.config!r} is no file or folder; give a config.json or a preset's name"
        )
        config = JukeboxVQVAEConfig.from_pretrained(path)
    else:
        config = vqvae_preset(model_args.config)
    return _overridden(config, model_args.config_overrides, is_trained=False)


def _path_of(model_args: VQVAEModelArguments) -> Path | None:
    """Where the configuration lies; None of a preset, or of a model."""
    path = Path(model_args.config or "")
    is_path = model_args.model_name_or_path is None and (path.suffix == ".json" or path.is_dir())
    return path if is_path else None


def _overridden(config: JukeboxVQVAEConfig, changes: str | None, is_trained: bool) -> JukeboxVQVAEConfig:
    """The configuration with changes `name=value,...`; of trained networks only how the losses are made may change."""
    values = config.to_dict()
    for change in (changes or "").split(",") if changes else []:
        name, _, value = (part.strip() for part in change.partition("="))
        require(
            hasattr(type(config), name) and name in values and value != "",
            f"config_overrides={changes!r} has {change!r}, but every change must be name=value with a field of the "
            f"configuration, such as relative_weight=0.1",
        )
        is_of_losses = name.endswith(_LOSS_ENDINGS) or name.startswith("multispectral_")
        require(
            is_of_losses or not is_trained,
            f"config_overrides={changes!r} changes {name}, which trained weights depend on; change weights and kinds "
            f"of losses alone, or start a new model with config",
        )
        values[name] = yaml.safe_load(value)
    return JukeboxVQVAEConfig.from_dict(values)


def _trained_model(name_or_path: str, config: JukeboxVQVAEConfig) -> JukeboxVQVAE:
    model = JukeboxVQVAE.from_pretrained(name_or_path, config=config)
    return model.float()  # the optimiser's steps would vanish in half precision; bf16=True computes in it


def _stream(data_args: AudioArguments, config: JukeboxVQVAEConfig, seed: int, **ranks: int) -> Any:
    """Windows of shards, without end."""
    from jukebox_hf.data.shard_files import list_shards
    from jukebox_hf.data.shard_windows import ShardWindows

    shards, samples = list_shards(data_args.train_songs), _window_samples(data_args, config)
    how = {"shift": data_args.shift, "blend": data_args.blend}
    return ShardWindows(shards, samples, config.sampling_rate, seed, **how, **ranks)


def _windows(
    data_args: AudioArguments, config: JukeboxVQVAEConfig, training_args: JukeboxVQVAETrainingArguments
) -> tuple[Any, Any]:
    """Windows to train on, and to evaluate on or None."""
    from jukebox_hf.data.audio_windows import AudioWindows
    from jukebox_hf.data.open_songs import open_songs

    samples, rate, seed = _window_samples(data_args, config), config.sampling_rate, training_args.seed

    def plain(songs: Any) -> AudioWindows:
        return AudioWindows(songs, samples, rate, seed=seed)

    evaluation = None
    outside = {"allow_outside_files": data_args.allow_outside_files}
    if data_args.streaming:
        ranks = {"rank": training_args.process_index, "num_ranks": training_args.world_size}
        evaluation = None if data_args.eval_songs is None else plain(open_songs(data_args.eval_songs, **outside))
        return _stream(data_args, config, seed, **ranks), evaluation
    if data_args.test_fraction > 0:
        songs = open_songs(data_args.train_songs, split="train", test_fraction=data_args.test_fraction, **outside)
        evaluation = plain(
            open_songs(data_args.train_songs, split="test", test_fraction=data_args.test_fraction, **outside)
        )
    else:
        songs = open_songs(data_args.train_songs, **outside)
        evaluation = None if data_args.eval_songs is None else plain(open_songs(data_args.eval_songs, **outside))
    return AudioWindows(songs, samples, rate, seed=seed, shift=data_args.shift, blend=data_args.blend), evaluation


def _window_samples(data_args: AudioArguments, config: JukeboxVQVAEConfig) -> int:
    """The window in whole codes of the coarsest level."""
    hop_length = config.hop_lengths[-1]
    samples = int(data_args.window_seconds * config.sampling_rate) // hop_length * hop_length
    require(
        samples > 0,
        f"window_seconds={data_args.window_seconds} is shorter than one code of the coarsest level, {hop_length} "
        f"samples; try {max(1, round(100 * hop_length / config.sampling_rate))}",
    )
    check_window_samples("train_songs", samples, config)
    return samples


if __name__ == "__main__":
    sys.exit(main())
