"""A whole model written down: a folder for each part, and beside them what a repository needs to be sung with.

Flows in: a model, parts of it perhaps not in memory. Flows out: a repository; parts that nobody changed are copied from
where they lie. The root config.json is written last, so that a folder with one is whole.
"""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from ..checks.repository_names import saving_folder
from ..checks.validation import require
from ..configuration.configuration_jukebox import JukeboxConfig
from ..files.loading_arguments import PART_SAVING, PUSH_ARGUMENTS, check_saving, without_bars
from .companions import write_companions, write_missing_card
from .part_loader import check_same
from .remote_code import write_code

_ARCHITECTURE = "JukeboxModel"


class WritesRepository:
    """For a whole model, before `PreTrainedModel`; `config`, `lend`, `_source` and its adapters are its own."""

    def save_pretrained(
        self,
        save_directory: str | PathLike[str],
        push_to_hub: bool = False,
        is_main_process: bool = True,
        **kwargs: Any,
    ) -> None:
        """Write the repository: root and generation configuration, and a folder per part; absent parts are copied.

        Where the model was opened from a repository with a processor, lists of names and a card, these are written
        too, unless the folder has some that fit; and so is the code of a repository that carries it. A model with
        peft adapters writes only these, as in transformers.

        Args:
            save_directory: a folder, made if need be.
            push_to_hub: also upload it.
            is_main_process: False writes nothing.
            kwargs: for every part's own `save_pretrained`, max_shard_size and variant; and, to upload, `repo_id` (else
                the folder's name), token, private, commit_message, commit_description, create_pr, revision, tags.

        Raises:
            ValueError: arguments that mean nothing here, or a part that would not open again; nothing is written then.
        """
        folder = saving_folder(save_directory)
        repo_id = kwargs.pop("repo_id", folder.name)
        check_saving(kwargs)
        if not is_main_process:
            return
        if getattr(self, "_hf_peft_config_loaded", False):
            super().save_pretrained(folder, push_to_hub=push_to_hub, **kwargs)
            return
        hub = {name: kwargs.pop(name) for name in PUSH_ARGUMENTS if name in kwargs}
        kwargs = {name: value for name, value in kwargs.items() if name in PART_SAVING and value is not None}
        require(
            not (push_to_hub and "variant" in kwargs),
            f"variant={kwargs.get('variant')!r} cannot be uploaded by push_to_hub=True; save it and upload the folder "
            f"with `hf upload`",
        )
        states = self.check_saved()
        if self._adapters is not None:
            self._save_processor(folder)
        if copied := [level for level in range(self.num_levels) if self._is_copied(level)]:
            self._source.check_priors(copied)
        for level in copied:
            self._source.check_copy(level, getattr(self, f"prior_{level}"), **kwargs)
        folder.mkdir(parents=True, exist_ok=True)
        with without_bars():
            self.vqvae.save_pretrained(folder / "vqvae", state_dict=states["vqvae"], **kwargs)
            for level in range(self.num_levels):
                self._save_prior(level, folder, states, **kwargs)
        self.generation_config.save_pretrained(folder)
        if self._source is not None:
            where = self._source.name_or_path, self._source.hub
            write_companions(self.config, *where, folder, trusts=bool(self.is_remote_code()))
        write_missing_card(self.config, self._source.name_or_path if self._source is not None else None, folder)
        save_root_config(self.config, folder)
        if getattr(self.config, "auto_map", None) or self.is_remote_code():
            write_code(folder)
        if self._source is not None and folder.resolve() == Path(self._source.name_or_path).resolve():
            self._source = self._source.seen_now()
        if push_to_hub:
            sizes = {name: kwargs[name] for name in ("max_shard_size",) if name in kwargs}
            self.push_to_hub(repo_id, **hub, **sizes)

    def check_saved(self) -> dict[str, dict[str, Tensor] | None]:
        """Refuse what would not open again once it is saved; nothing is written.

        Returns:
            Of parts in memory by name: the weights of one that is compiled, as they are to be saved; None of others.

        Raises:
            ValueError: in one sentence, that names the part.
        """
        if getattr(self, "_hf_peft_config_loaded", False):
            return {}  # these adapters are saved alone
        parts = {"vqvae": (self.vqvae, self.config.vqvae_config)}
        for level, config in enumerate(self.config.prior_configs):
            prior = getattr(self, f"prior_{level}")
            if prior is not None and not self._is_copied(level):
                parts[f"prior_{level}"] = prior, config
        states = {}
        for name, (part, config) in parts.items():
            states[name] = part.check_saved()
            check_same(name, part.config, config)
        return states

    def _save_processor(self, folder: Path) -> None:
        """The repository's processor, with the names that adapters bring."""
        try:
            own = self.own_processor()
        except (OSError, ValueError):
            return  # of which `write_companions` warns
        if own is not None:
            folder.mkdir(parents=True, exist_ok=True)
            own.save_pretrained(folder)

    def _save_prior(
        self, level: int, folder: Path, states: Mapping[str, dict[str, Tensor] | None], **kwargs: Any
    ) -> None:
        name = f"prior_{level}"
        if self._is_copied(level):
            self._source.copy_prior(level, folder, **kwargs)
        elif self._is_adapted(level):  # with the adapters, which it then needs no more
            require(
                not self._source.is_quantized(level),
                f"{name} is quantized, so it cannot be written again with what adapters changed; keep them beside it",
            )
            self.lend(level).save_pretrained(folder / name, **kwargs)
            self.take_back(level)
        elif (prior := getattr(self, name)) is not None:
            prior.save_pretrained(folder / name, state_dict=states[name], **kwargs)

    def _is_copied(self, level: int) -> bool:
        """Whether a prior is saved as the repository has it: also int8, which transformers cannot write again."""
        prior = getattr(self, f"prior_{level}")
        if self._source is None or self._is_adapted(level):
            return False
        return prior is None or self._source.stores_int8(prior)


def save_root_config(config: JukeboxConfig, folder: Path) -> None:
    """Write the root config.json; last, so that a folder with one is whole."""
    config = JukeboxConfig.from_dict(config.to_dict())
    config.architectures = [_ARCHITECTURE]
    config.save_pretrained(folder)
