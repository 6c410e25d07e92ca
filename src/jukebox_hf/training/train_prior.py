"""`jukebox-hf train-prior`: train a prior or an upsampler on songs or codes, or fine-tune one.

Flows in: flags, or a YAML file and flags. Flows out: a prior's folder with its lists of names, checkpoints, and an exit
code; with `--into`, a whole Jukebox. Run it under `accelerate launch` or `torchrun` for several devices.
"""

import copy
import sys
from collections.abc import Sequence
from pathlib import Path

from transformers import PrinterCallback, ProgressCallback, TrainerCallback, set_seed
from transformers.utils import logging

from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.configuration.configuration_jukebox import JukeboxPriorConfig
from jukebox_hf.model.inputs.label_vocabulary import UNKNOWN_ID, LabelVocabulary
from jukebox_hf.model.inputs.tokenization_jukebox import JukeboxTokenizer
from jukebox_hf.model.networks.modeling_jukebox_prior import JukeboxPrior
from jukebox_hf.training.assemble import check_fits_into, put_prior
from jukebox_hf.training.checkpoints import check_fits, check_same_configuration
from jukebox_hf.training.commands import check_output_dir, checkpoint_to_resume, read_arguments, run, train_as_told
from jukebox_hf.training.prior.label_lists import (
    LABEL_CHOICES,
    check_same_labels,
    choose_labels,
    new_names,
    relabel,
    table_sizes,
)
from jukebox_hf.training.prior.lora import LoRAArguments, check_adapters_fit, with_adapters
from jukebox_hf.training.prior.lyric_alphabets import (
    FROM_SONGS,
    add_characters,
    check_same_characters,
    with_characters,
)
from jukebox_hf.training.prior.new_name_rate import learn_new_names
from jukebox_hf.training.prior.prior_arguments import (
    JukeboxPriorTrainingArguments,
    PriorDataArguments,
    PriorModelArguments,
)
from jukebox_hf.training.prior.prior_collators import PriorCollator, needs_words
from jukebox_hf.training.prior.prior_data import PriorSongs, check_same_vqvae, check_songs, open_prior_songs, windows_of
from jukebox_hf.training.prior.prior_initialization import PriorInitialization, initialize
from jukebox_hf.training.prior.prior_sources import PriorSource, open_source, open_vqvae, read_facts, write_facts
from jukebox_hf.training.prior.prior_trainer import JukeboxPriorTrainer
from jukebox_hf.training.prior.style_inversion import freeze_all_but, new_artists
from jukebox_hf.training.run_record import RunRecord

logger = logging.get_logger(__name__)

ARGUMENT_CLASSES = (
    PriorModelArguments,
    PriorDataArguments,
    PriorInitialization,
    LoRAArguments,
    JukeboxPriorTrainingArguments,
)
# Of a configuration: what follows from the lists of names and characters, and what is found out of a trained prior.
_OF_LISTS = ("num_artists", "num_genres", "lyric_vocab_size")
_OF_ALIGNMENT = ("alignment_layer", "alignment_head")


def main(words: Sequence[str] | None = None) -> int:
    """Train as the words of a command line say."""
    return run(lambda: train_as_told(train_prior, read_arguments(ARGUMENT_CLASSES, words), "a trained prior"))


def train_prior(
    model_args: PriorModelArguments,
    data_args: PriorDataArguments,
    init_args: PriorInitialization,
    lora_args: LoRAArguments,
    training_args: JukeboxPriorTrainingArguments,
    teller: TrainerCallback | None = None,
) -> None:
    """Train, evaluate where there are songs for it, and save the prior in `output_dir`.

    Args:
        teller: tells of steps and evaluations, in the place of transformers' bars and lines.

    Raises:
        ValueError: anything that would stop the first step, in one sentence.
    """
    check_output_dir(
        training_args.output_dir,
        JukeboxPriorConfig.model_type,
        model_name_or_path=model_args.model_name_or_path,
        vqvae=model_args.vqvae,
        config=model_args.config,
        labels=model_args.labels,
        into=model_args.into,
        train_codes=data_args.train_codes,
        train_songs=data_args.train_songs,
        eval_codes=data_args.eval_codes,
        eval_songs=data_args.eval_songs,
        replay_codes=data_args.replay_codes,
    )
    folder = checkpoint_to_resume(training_args)
    source = open_source(model_args)
    _check_combination(model_args, source, init_args, lora_args, folder)
    _check_style(model_args, source, lora_args, training_args)
    if data_args.streaming:
        _check_stream(model_args, source, training_args)
    vqvae = source.vqvae if model_args.vqvae is None else open_vqvae(model_args.vqvae)
    config = source.config
    songs = open_prior_songs(data_args, config, vqvae)
    _check_origin(songs, source, model_args, training_args)
    tokenizer = _tokenizer(model_args, source, songs, folder)
    labelled = _labelled(config, tokenizer)
    check_songs(songs, tokenizer, labelled)
    _check_new_names(lora_args, source, tokenizer)
    _check_name_rate(model_args, lora_args, training_args, source, tokenizer)
    if model_args.style:
        _styles(source, tokenizer)
    ranks = training_args.process_index, training_args.world_size
    train, evaluation = windows_of(songs, data_args, labelled, training_args.seed, tokenizer, ranks)
    if model_args.into is not None:
        check_fits_into(labelled, Path(model_args.into), model_args.model_name_or_path)
    set_seed(training_args.seed)  # the same first weights in every run and on every rank
    prior = _prior(model_args, source, tokenizer, init_args, None if lora_args.is_wanted else folder)
    if folder is not None:
        check_fits(prior, folder)
    if model_args.style:
        freeze_all_but(prior, _styles(source, tokenizer).values())
    known = [] if data_args.streaming else (songs.train[index] for index in range(len(songs.train)))
    record = RunRecord.of(known, training_args.seed, prior if lora_args.is_wanted else None)
    if folder is not None:
        record.compare(Path(folder).parent, tell=training_args.should_log)
    model = with_adapters(prior, lora_args) if lora_args.is_wanted else prior
    if training_args.new_name_learning_rate is not None:
        learn_new_names(model, *_old_and_new_lists(source, tokenizer))
    trainer = JukeboxPriorTrainer(
        model,
        training_args,
        data_collator=PriorCollator(prior.config, tokenizer, timed=data_args.timed_lyrics),
        train_dataset=train,
        eval_dataset=evaluation,
        vqvae=vqvae if data_args.train_songs is not None else None,
    )
    if teller is not None:
        for usual in (PrinterCallback, ProgressCallback):
            trainer.remove_callback(usual)
        trainer.add_callback(teller)
    if training_args.should_save:
        write_facts(songs.facts, Path(training_args.output_dir))
        record.keep(Path(training_args.output_dir), is_new=folder is None)
    trainer.train(resume_from_checkpoint=folder)
    trainer.save_model()
    trainer.save_state()
    if evaluation is not None:
        trainer.save_metrics("eval", trainer.evaluate())
    trainer.create_model_card(dataset=data_args.train_songs)
    if training_args.push_to_hub:
        trainer.push_to_hub()
    if model_args.into is not None and training_args.should_save:
        put_prior(Path(training_args.output_dir), Path(model_args.into), model_args.model_name_or_path)
    if report := songs.train.report():
        logger.warning(report)


def _check_combination(
    model_args: PriorModelArguments,
    source: PriorSource,
    init_args: PriorInitialization,
    lora_args: LoRAArguments,
    folder: Path | None,
) -> None:
    """Refuse flags that do not go together."""
    require(
        model_args.lyric_characters is None or source.config.lyrics != "none",
        f"lyric_characters={model_args.lyric_characters!r:.80}, but this prior is not conditioned on "
        f"lyrics (lyrics='none'); drop it",
    )
    require(
        source.load is None or not init_args.is_wanted,
        "shared_positions, tied_query_key and embedding_std draw first weights, but model_name_or_path has trained "
        "ones; drop them",
    )
    init_args.check(source.config)
    require(
        source.load is not None or not lora_args.is_wanted,
        f"lora_rank={lora_args.lora_rank} adapts trained weights, but config names a new prior; give "
        f"model_name_or_path",
    )
    if folder is not None:
        check_adapters_fit(lora_args, folder)
        if not lora_args.is_wanted:  # a checkpoint of adapters holds no configuration of the prior: RunRecord compares
            _check_same_prior(source.config, folder)


def _check_same_prior(asked: JukeboxPriorConfig, folder: Path) -> None:
    """Refuse a checkpoint of another prior, but for the rows of its lists."""
    found = JukeboxPriorConfig.from_pretrained(folder)
    of_lists = [name for name in _OF_LISTS if getattr(asked, name) and getattr(found, name)]  # 0: without any
    check_same_configuration(found, asked, folder, apart_from=(*of_lists, *_OF_ALIGNMENT))


def _check_style(
    model_args: PriorModelArguments,
    source: PriorSource,
    lora_args: LoRAArguments,
    training_args: JukeboxPriorTrainingArguments,
) -> None:
    """Refuse what moves anything but the vectors of new artists."""
    if not model_args.style:
        return
    require(
        source.load is not None and source.config.has_labels,
        "style=True learns a name in front of trained weights, but "
        + ("config names a new prior" if source.load is None else "this prior has no labels (num_artists is 0)")
        + "; drop it",
    )
    require(
        not lora_args.is_wanted and model_args.lyric_characters is None,
        f"style=True keeps all else frozen, but lora_rank={lora_args.lora_rank} and lyric_characters="
        f"{model_args.lyric_characters!r:.80} bring more to learn; drop one of them",
    )
    require(
        training_args.weight_decay == 0,
        f"style=True keeps all else as it is, but weight_decay={training_args.weight_decay} shrinks it; leave that out",
    )


def _check_stream(
    model_args: PriorModelArguments, source: PriorSource, training_args: JukeboxPriorTrainingArguments
) -> None:
    """Refuse what must know all songs before the first step."""
    require(
        training_args.max_steps > 0,
        f"max_steps={training_args.max_steps}, but a stream has no end; say after how many steps to stop",
    )
    labels = model_args.labels or ("songs" if source.tokenizer is None else "keep")
    require(
        not source.config.has_labels or labels not in ("add", "songs"),
        f"labels={labels!r} lists the names of all songs, which a stream tells only as it is read; give a folder with "
        f"artists.json, such as that of a prior trained with --labels songs on some of them",
    )
    require(
        model_args.lyric_characters != "songs",
        "lyric_characters='songs' looks for letters in all songs, which a stream tells only as it is read; name the "
        "characters, or a text file of them",
    )


def _styles(source: PriorSource, tokenizer: JukeboxTokenizer) -> dict[str, int]:
    """The new artists and their ids; errors as in `new_artists`."""
    return new_artists(*_old_and_new_lists(source, tokenizer))


def _check_origin(
    songs: PriorSongs,
    source: PriorSource,
    model_args: PriorModelArguments,
    training_args: JukeboxPriorTrainingArguments,
) -> None:
    """The codes must be of the VQ-VAE that this prior, and this run so far, were trained with."""
    what = str(model_args.vqvae or "the training data")
    if source.facts is not None:
        check_same_vqvae(what, songs.facts, str(model_args.model_name_or_path), source.facts, source.config)
    earlier = read_facts(Path(training_args.output_dir)) if training_args.resume_from_checkpoint is not None else None
    if earlier is not None:
        check_same_vqvae(what, songs.facts, f"the run in {training_args.output_dir}", earlier, source.config)


def _tokenizer(
    model_args: PriorModelArguments, source: PriorSource, songs: PriorSongs, folder: Path | None
) -> JukeboxTokenizer | None:
    """The lists of names and the lyric characters; a resumed run keeps those it began with.

    Raises:
        ValueError: lists or characters that cannot be had, or a checkpoint with others than are asked for.
    """
    if not needs_words(source.config):
        return None
    wanted, characters = model_args.labels, model_args.lyric_characters
    begun = None if folder is None else JukeboxTokenizer.from_pretrained(folder)
    if begun is not None and wanted is None and characters is None:
        return begun
    tokenizer = choose_labels(wanted, source.tokenizer, source.config, songs, len(songs.facts.hop_lengths))
    if source.load is not None:
        tokenizer.check_alphabet(source.config)
    if characters is not None and (begun is None or characters != FROM_SONGS):  # songs may be others by now
        tokenizer = with_characters(tokenizer, characters, songs)
    if begun is None:
        return tokenizer
    if wanted is not None:
        check_same_labels(wanted, tokenizer, begun, source.tokenizer, source.config, folder)
    if characters is not None:
        check_same_characters(characters, tokenizer, begun, folder)
    return begun


def _check_new_names(lora_args: LoRAArguments, source: PriorSource, tokenizer: JukeboxTokenizer | None) -> None:
    """Frozen embeddings of new names would stay those of "unknown", and those of new characters a guess."""
    if not lora_args.is_wanted or tokenizer is None:
        return
    added = _labelled(source.config, tokenizer).lyric_vocab_size - source.config.lyric_vocab_size
    require(
        added == 0,
        f"lyric_characters brings {added} new characters, but lora_rank={lora_args.lora_rank} keeps their embeddings "
        f"frozen; train all weights, if only at first (lora_rank 0)",
    )
    if lora_args.lora_labels or not source.config.has_labels:
        return
    names = new_names(*_old_and_new_lists(source, tokenizer))
    require(
        not names,
        f"labels brings {len(names)} new names, such as {names[:1]}, but lora_labels=False keeps their embeddings "
        f"frozen as 'unknown'; pass --lora_labels true",
    )


def _check_name_rate(
    model_args: PriorModelArguments,
    lora_args: LoRAArguments,
    training_args: JukeboxPriorTrainingArguments,
    source: PriorSource,
    tokenizer: JukeboxTokenizer | None,
) -> None:
    """Refuse a rate of new names where there are none that learn."""
    rate = training_args.new_name_learning_rate
    if rate is None:
        return
    is_told = source.config.has_labels and tokenizer is not None and source.load is not None
    names = new_names(*_old_and_new_lists(source, tokenizer)) if is_told else []
    require(
        bool(names),
        f"new_name_learning_rate={rate} is of names that are new to a trained prior, but there are none; drop it",
    )
    cure = "with style=True nothing else does, give learning_rate" if model_args.style else "pass --lora_labels true"
    require(
        not model_args.style and (not lora_args.is_wanted or lora_args.lora_labels),
        f"new_name_learning_rate={rate} is of names that learn beside all else; {cure}",
    )


def _old_and_new_lists(source: PriorSource, tokenizer: JukeboxTokenizer) -> tuple[LabelVocabulary, LabelVocabulary]:
    """The lists that a prior was trained on, and those that it is trained on now."""
    new = tokenizer.vocabularies[tokenizer.label_versions[source.config.level]]
    return _own_lists(source, new), new


def _own_lists(source: PriorSource, new: LabelVocabulary) -> LabelVocabulary:
    """The lists that a trained prior's embeddings follow; without lists, "unknown" is all that is known of them."""
    if source.tokenizer is None:
        return LabelVocabulary(new.version, {"unknown": UNKNOWN_ID}, {"unknown": UNKNOWN_ID})
    return source.tokenizer.vocabularies[new.version]


def _labelled(config: JukeboxPriorConfig, tokenizer: JukeboxTokenizer | None) -> JukeboxPriorConfig:
    """The configuration with rows for all names of the lists, and for one's own lyric characters."""
    if tokenizer is None:
        return config
    labelled = copy.deepcopy(config)
    if config.has_labels:
        lists = tokenizer.vocabularies[tokenizer.label_versions[config.level]]
        labelled.num_artists, labelled.num_genres = table_sizes(lists)
    if config.lyrics != "none" and tokenizer.lyric_characters:
        labelled.lyric_vocab_size = tokenizer.num_lyric_characters(config.level)
    return labelled


def _prior(
    model_args: PriorModelArguments,
    source: PriorSource,
    tokenizer: JukeboxTokenizer | None,
    init_args: PriorInitialization,
    folder: Path | None,
) -> JukeboxPrior:
    """The network to train; where a checkpoint will fill it, only its shape."""
    if folder is not None:
        return JukeboxPrior(JukeboxPriorConfig.from_pretrained(folder))
    if source.load is None:
        prior = JukeboxPrior(_labelled(source.config, tokenizer))
        if init_args.is_wanted:
            initialize(prior, init_args)
        return prior
    prior = source.load()
    if tokenizer is not None and prior.config.has_labels:
        new = tokenizer.vocabularies[tokenizer.label_versions[prior.config.level]]
        # A folder of lists for a prior that came without any: they are its own.
        are_own = source.tokenizer is None and model_args.labels not in (None, *LABEL_CHOICES)
        relabel(prior, new if are_own else _own_lists(source, new), new)
    if tokenizer is not None:
        add_characters(prior, tokenizer)
    return prior


if __name__ == "__main__":
    sys.exit(main())
