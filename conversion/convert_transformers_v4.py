"""A repository of transformers 4's Jukebox to one of ours.

Flows in: a Hub name or folder. Flows out: a folder in the layout of `JukeboxModel`, with the same numbers.
"""

from collections.abc import Callable
from functools import partial
from os import PathLike
from pathlib import Path

from transformers.utils import cached_file

from jukebox_hf.conversion.convert_openai import (
    Say,
    check_tables,
    numbered_tokenizer,
    without_names,
    write_processor_files,
)
from jukebox_hf.conversion.repository import ForeignPart, about, check_archive, write_repository
from jukebox_hf.conversion.staging import check_target
from jukebox_hf.model.checkpoints.checkpoint_keys import check_keys
from jukebox_hf.model.checkpoints.legacy_keys import legacy_keys, tied_names
from jukebox_hf.model.checkpoints.repository_card import converted_card, name_on_hub
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.configuration.configuration_jukebox import JukeboxConfig
from jukebox_hf.model.configuration.legacy_configuration import is_legacy_config
from jukebox_hf.model.files.checkpoint_files import CheckpointFiles, read_config_json
from jukebox_hf.model.inputs.tokenization_jukebox import JukeboxTokenizer

_TOKENIZER_FILES = ("artists.json", "genres.json", "lyrics.json", "tokenizer_config.json")


def convert_transformers_v4(
    source: str | PathLike[str],
    out: str | PathLike[str],
    *,
    dtype: str = "keep",
    force: bool = False,
    say: Say = lambda line: None,
) -> None:
    """Turn a legacy repository, in any of its three layouts, into one of ours.

    Args:
        source: Hub name or folder.
        out: the folder to make.
        dtype: `keep`, `float32`, `bfloat16` or `float16`.
        force: replace an older repository at `out`.

    Raises:
        ValueError: not a legacy Jukebox, tensors that do not fit, or a target that is taken.
        OSError: nothing to read there.
    """
    source, out = str(source), Path(out)
    check_target(out, force, [Path(source)])
    root = read_config_json(source)
    is_legacy = is_legacy_config(root)
    is_ours = not is_legacy and "prior_configs" in root
    require(not is_ours, f"{source} is a repository of this package already; use it as it is")
    require(
        is_legacy,
        f"{source} is not a Jukebox repository of transformers 4 (its config.json lists no priors); see "
        f"`jukebox-hf convert openai` for OpenAI's files",
    )
    config = JukeboxConfig.from_dict(root)
    tokenizer = _tokenizer(source)
    has_names = tokenizer is not None
    if has_names:
        check_tables(tokenizer, config.prior_configs)
    else:
        tokenizer = numbered_tokenizer(config)
    files = CheckpointFiles.of_repository(source)
    for file in files.files:
        check_archive(file)
    keys = legacy_keys(config)
    with about(source):
        check_keys(files, [pair for pairs in keys.values() for pair in pairs], optional=tied_names(config))
    parts = {"vqvae": config.vqvae_config}
    parts |= {f"prior_{level}": prior for level, prior in enumerate(config.prior_configs)}
    opened: list[Callable[[], ForeignPart]] = [
        partial(ForeignPart, name, part, files, tuple(keys[name]), source, is_alone=False)
        for name, part in parts.items()
    ]
    finish, sources = partial(_finish, tokenizer, config, name_on_hub(source)), [Path(source)]
    write_repository(out, config, opened, finish, dtype=dtype, force=force, sources=sources)
    if not has_names:
        say(f"{source} has no tokenizer files, so {without_names(tokenizer)}")
    say(f"wrote {out}")


def _tokenizer(source: str) -> JukeboxTokenizer | None:
    """The tokenizer of a repository; None where it has no file of one at all.

    Raises:
        ValueError: some of the files are missing.
    """
    quietly = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    paths = {name: cached_file(source, name, **quietly) for name in _TOKENIZER_FILES}
    found = [Path(path) for path in paths.values() if path is not None]
    if not found:
        return None
    missing = [name for name, path in paths.items() if path is None]
    require(not missing, f"{source} lacks {' and '.join(missing)}; complete the download")
    return JukeboxTokenizer.from_transformers_v4(found[0].parent)


def _finish(tokenizer: JukeboxTokenizer | None, config: JukeboxConfig, base: str | None, folder: Path) -> None:
    write_processor_files(tokenizer, config, folder)
    card = converted_card(config, "a repository of transformers 4", base)
    (folder / "README.md").write_text(card, encoding="utf-8")
