"""What goes with the weights of a model: its processor with the lists of names, and its card.

Flows in: the repository that a model was opened from. Flows out: files beside saved weights. A model knows its
repository and nothing more, so that is where they come from.
"""

import contextlib
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..checks.validation import require
from ..configuration.configuration_jukebox import JukeboxConfig
from ..files.checkpoint_files import check_name, find_fetched
from ..inputs.processing_jukebox import JukeboxProcessor
from ..inputs.tokenization_jukebox import JukeboxTokenizer
from .repository_card import saved_card

_CARD = "README.md"
_TOKENIZER_PARTS = ("tokenizer_config.json", "artists.json", "genres.json")


def write_companions(
    config: JukeboxConfig, repository: str, hub: Mapping[str, Any], folder: Path, *, trusts: bool = False
) -> None:
    """Put the processor and the card of a repository beside weights that were opened from it.

    What stands in the folder already and fits the model is left alone.

    Args:
        config: of the model that is saved; it may have been given more lyric characters since.
        repository: name or folder; hub: how its files are fetched.
        trusts: this code came with the repository, so its owner was asked already.
    """
    try:
        check_name(repository)
    except FileNotFoundError:
        warnings.warn(
            f"{repository} is gone since the model was opened, so its processor and card are not saved with it; save "
            f"the processor yourself, into the same folder: processor.save_pretrained(folder)",
            stacklevel=3,
        )
        return
    if not _has_processor(config, folder):
        try:
            processor, reason = processor_of(config, repository, hub, trusts=trusts), ""
        except (OSError, ValueError) as error:
            processor, reason = None, " ".join(str(error).split())
        if processor is not None:
            processor.save_pretrained(folder)
        elif reason:
            warnings.warn(
                f"the lists and characters of {repository} cannot be read ({reason}), so none are saved with it; mend "
                f"them there, or save another processor into the same folder: processor.save_pretrained(folder)",
                stacklevel=3,
            )
        elif _holds_tokenizer(repository, hub):
            warnings.warn(
                f"the lists and characters of {repository} do not fit this model any more, so none are saved with it; "
                f"save the processor that does into the same folder: processor.save_pretrained(folder)",
                stacklevel=3,
            )
    card = find_fetched(repository, _CARD, **hub)
    if card is not None and not (folder / _CARD).exists():
        shutil.copyfile(card, folder / _CARD)


def write_missing_card(config: JukeboxConfig, repository: str | None, folder: Path) -> None:
    """Say beside saved weights what they are, where no card does."""
    if not (folder / _CARD).exists():
        (folder / _CARD).write_text(saved_card(config, repository), encoding="utf-8")


def check_lists(config: JukeboxConfig, repository: Path) -> None:
    """Refuse lists that no song could be made with, before a repository is copied.

    Without any, artists and genres are named by number.

    Args:
        config: of its model.

    Raises:
        OSError, ValueError: lists that cannot be read, of which some are missing, or of another model.
    """
    there = [name for name in _TOKENIZER_PARTS if (repository / name).exists()]
    missing = [name for name in _TOKENIZER_PARTS if name not in there]
    if not there:
        return
    require(
        not missing,
        f"{repository} holds {' and '.join(there)}, but no {' and no '.join(missing)}; get what is missing, or remove "
        f"the others too, for artists and genres that are named by number",
    )
    JukeboxProcessor.from_config(config, JukeboxTokenizer.from_pretrained(str(repository)))


def processor_of(
    config: JukeboxConfig, repository: str, hub: Mapping[str, Any], *, trusts: bool = False
) -> JukeboxProcessor | None:
    """The processor of a repository, if it has lists at all and these are of such a model.

    Raises:
        OSError, ValueError: lists that cannot be read.
    """
    if not _holds_tokenizer(repository, hub):
        return None
    tokenizer = JukeboxTokenizer.from_pretrained(repository, **hub)
    try:
        fitting = JukeboxProcessor.from_config(config, tokenizer)
    except ValueError:
        return None
    if find_fetched(repository, "processor_config.json", **hub) is None:
        return fitting
    try:
        own = JukeboxProcessor.from_pretrained(repository, trust_remote_code=trusts, **hub)
    except (OSError, ValueError):
        return fitting
    return own if (own.max_genres, own.lyric_level) == (fitting.max_genres, fitting.lyric_level) else fitting


def _has_processor(config: JukeboxConfig, folder: Path) -> bool:
    """Whether lists of such a model stand in a folder."""
    with contextlib.suppress(OSError, ValueError):
        return processor_of(config, str(folder), {}) is not None
    return False


def _holds_tokenizer(repository: str, hub: Mapping[str, Any]) -> bool:
    return find_fetched(repository, "tokenizer_config.json", **hub) is not None
