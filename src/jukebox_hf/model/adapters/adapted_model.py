"""What a whole model does with adapters: load them, weigh them, swap them, without reading its own weights again.

Flows in: names of adapters. Flows out: priors that sing with them, those in memory at once, others when they are read.
Only adapters in this package's layout; those that peft keeps of a whole model stay peft's.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..checks.validation import is_number, plain, require
from ..configuration.configuration_jukebox import JukeboxPriorConfig
from ..inputs.label_vocabulary import LabelVocabulary
from ..inputs.processing_jukebox import JukeboxProcessor
from ..networks.modeling_jukebox_prior import JukeboxPrior
from .adapter_files import AdapterParts, read_adapter
from .adapter_set import AdapterSet, Original, restore
from .base_digest import base_digest


class CarriesAdapters:
    """For a whole model, before `PreTrainedModel`; `config`, `lend`, `loaded_levels` and `_source` are its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._adapters: AdapterSet | None = None
        self._originals: dict[int, Original | None] = {}  # of priors that are adapted now; None: not kept
        self._keeps_base, self._enabled, self._base_sizes = True, True, ()
        self._digests: dict[int, str] = {}

    def take_adapter(
        self,
        adapter: str | AdapterParts,
        adapter_name: str | None = None,
        *,
        weight: float = 1.0,
        keep_base: bool = True,
        hub: Mapping[str, Any] | None = None,
    ) -> str:
        """Load an adapter or a style, beside those that are loaded; it sings from now on, by its weight.

        Args:
            adapter: a folder, a style file, or a name on the Hub; or what was read of one.
            adapter_name: to call it by in `set_adapters`; None: its own name.
            weight: how much of it sings; 1 is all.
            keep_base: keep the matrices that it changes as they were, so that adapters are swapped at once; False saves
                that memory, and a later swap reads the changed ones from the repository again.
            hub: how its files are fetched.

        Returns:
            The name that it is called by.

        Raises:
            ValueError: an adapter of another base, of another layout, of a name that is known, or with numbers that are
                not finite; in one sentence, and nothing changes.
            OSError: nothing there.
        """
        given = None if isinstance(adapter, str) else adapter
        called = adapter_name if adapter_name is not None else adapter if given is None else given.name
        check_weight("weight", weight)
        require(
            isinstance(called, str) and called.strip() != "",
            f"adapter_name={called!r} must be a name, such as 'band'; choose one",
        )
        before = self._adapters or AdapterSet(self._own_lists())
        require(
            called not in before.parts,
            f"adapter_name={called!r} is loaded already; delete_adapter({called!r}) first, or choose another name",
        )
        parts = read_adapter(adapter, hub) if given is None else given
        self._check_base(parts)
        after = before.plus(called, parts)
        after.check(parts, {own.level: own for own in map(self._stored_config, range(self.num_levels))})
        packed = next((level for level in sorted(parts.lora) if self._source.is_quantized(level)), None)
        require(
            packed is None,
            f"{parts.name} is merged into matrices, but those of prior_{packed} are quantized; take the model that it "
            f"was made from, or another --dtype",
        )
        if self._adapters is None:
            self._base_sizes = tuple((own.num_artists, own.num_genres) for own in self.config.prior_configs)
            self._source = replace(self._source, config=copy.deepcopy(self.config))  # whose files hold no new names
        self._keeps_base = keep_base
        self._swap(after.weighted({**after.weights, called: float(weight)}))
        return called

    def set_adapters(self, adapter_names: str | Sequence[str], weights: float | Sequence[float] | None = None) -> None:
        """Say which of the loaded adapters sing, and by how much; all others are silent. At once, nothing is loaded.

        Args:
            adapter_names: one or several.
            weights: one for all, or one for each; None: 1.

        Raises:
            ValueError: a name that is not loaded, or a weight that is no finite number.
        """
        names = _names(adapter_names)
        given = list(weights) if isinstance(weights, (list, tuple)) else [weights] * len(names)
        require(
            len(given) == len(names),
            f"weights={weights!r} are {len(given)} for {len(names)} adapters; give one for each, or one for all",
        )
        loaded = self._adapters.parts if self._adapters is not None else {}
        lost = [name for name in names if name not in loaded]
        require(
            not lost, f"adapter_names has {lost[:1]}, which is not loaded ({', '.join(loaded) or 'none is'}); load it"
        )
        for weight in given:
            check_weight("weights", 1.0 if weight is None else weight)
        self._enabled = True
        if self._adapters is not None:
            pairs = zip(names, given, strict=True)
            self._swap(self._adapters.weighted({name: 1.0 if each is None else float(each) for name, each in pairs}))

    def set_adapter(self, adapter_name: str | Sequence[str]) -> None:
        """As `set_adapters` with weights of 1; of peft's adapters, as in transformers."""
        if self._adapters is None:
            super().set_adapter(adapter_name)
            return
        self.set_adapters(adapter_name)

    def delete_adapter(self, adapter_names: str | Sequence[str]) -> None:
        """Let adapters go; with the last one the model is as it was, bit for bit.

        Raises:
            ValueError: a name that is not loaded.
        """
        if self._adapters is None:
            self._require_foreign_adapter()
            super().delete_adapter(adapter_names)
            return
        names = _names(adapter_names)
        after = self._adapters
        for name in names:
            require(
                name in after.parts,
                f"adapter_names has {name!r}, which is not loaded ({', '.join(after.parts)}); name one that is",
            )
            after = after.minus(name)
        self._swap(after)

    def disable_adapters(self) -> None:
        """Sing without adapters until `enable_adapters`; their names sound like "unknown"."""
        if self._adapters is None:
            self._require_foreign_adapter()
            super().disable_adapters()
            return
        self._enabled = False
        self._swap(self._adapters)

    def enable_adapters(self) -> None:
        """Sing with adapters again, by the weights they had."""
        if self._adapters is None:
            self._require_foreign_adapter()
            super().enable_adapters()
            return
        self._enabled = True
        self._swap(self._adapters)

    def _require_foreign_adapter(self) -> None:
        """That peft put one into the model itself, where this class holds none; transformers speaks of versions."""
        is_there = getattr(self, "_hf_peft_config_loaded", False)
        require(is_there, "no adapter is loaded; load one first, with load_adapter")

    def active_adapters(self) -> list[str]:
        """The names of the adapters that sing."""
        if self._adapters is None:
            return super().active_adapters()
        return [name for name, weight in self._adapters.weights.items() if weight != 0 and self._enabled]

    @property
    def adapters(self) -> dict[str, float]:
        """The adapters that are loaded, and their weights; 0 of those that are silent."""
        parts = self._adapters.parts if self._adapters is not None else {}
        return {name: self._adapters.weights.get(name, 0.0) * self._enabled for name in parts}

    def with_adapter_names(self, processor: JukeboxProcessor) -> JukeboxProcessor:
        """A processor that knows the names which adapters bring; the same one where they bring none."""
        if self._adapters is None or not self._adapters.listed:
            return processor
        longer, own = self._adapters.tokenizer(), processor.tokenizer.vocabularies
        if longer.vocabularies == own:
            return processor
        require(
            all(version in longer.vocabularies and _agree(words, longer.vocabularies[version])
                for version, words in own.items()),
            "the processor has other names than this model, behind whose own the adapters' stand; take "
            "model.own_processor()",
        )  # fmt: skip
        return JukeboxProcessor(
            processor.feature_extractor, longer, max_genres=processor.max_genres, lyric_level=processor.lyric_level
        )

    def new_names(self) -> tuple[tuple[str, str, tuple[int, ...]], ...]:
        """The names that adapters bring: artist or genre, name, and the levels that learnt it."""
        return () if self._adapters is None else self._adapters.listed

    def told_adapters(self) -> list[dict[str, Any]]:
        """What sings beside the model, as plain values: name, weight and digest of each."""
        parts = self._adapters.parts if self._adapters is not None else {}
        return [
            {"name": name, "weight": weight, "sha256": parts[name].digest} for name, weight in self.adapters.items()
        ]

    # --- inside ---

    def _own_lists(self) -> Any:
        own = self.own_processor()
        return None if own is None else own.tokenizer

    def _check_base(self, parts: AdapterParts) -> None:
        """Refuse an adapter that was trained on other weights."""
        require(
            self._source is not None,
            f"{parts.name} belongs to a repository's weights, but this model was built in memory; save it, and open it "
            f"with JukeboxModel.from_pretrained",
        )
        other = [part for part in parts.base.digests if int(part.removeprefix("prior_")) >= self.num_levels]
        levels = [int(part.removeprefix("prior_")) for part in parts.base.digests if part not in other]
        for level in levels:
            if level not in self._digests:
                files = self.source_files([level])
                weights = files.get(f"prior_{level}") or files["weights"]
                self._digests[level] = base_digest(path for path in weights if path.suffix != ".json")
        other += [f"prior_{level}" for level in levels if self._digests[level] != parts.base.digests[f"prior_{level}"]]
        named = f" ({parts.base.name}{'@' * bool(parts.base.revision)}{parts.base.revision})" if parts.base.name else ""
        require(
            not other,
            f"{parts.name} was learnt on another model{named} than {self._source.name_or_path}, whose weights of "
            f"{', '.join(other)} differ; name its own base with --model, or train it anew on this one",
        )

    def _stored_config(self, level: int) -> JukeboxPriorConfig:
        """What the repository holds of a level, without rows for the names that adapters bring."""
        own = self.config.prior_configs[level]
        if self._adapters is None:
            return own
        stored = copy.deepcopy(own)
        stored.num_artists, stored.num_genres = self._base_sizes[level]
        return stored

    def _swap(self, after: AdapterSet) -> None:
        """Take another set of adapters: priors in memory change now, others when they are loaded."""
        before = self._originals
        for level in self.loaded_levels:
            if level in before:
                self._restore(level, getattr(self, f"prior_{level}"), before[level])
        stored = [self._stored_config(level) for level in range(self.num_levels)]
        self._adapters, self._originals = (after if after.parts else None), {}
        for level, own in enumerate(stored):
            config = self.config.prior_configs[level]
            config.num_artists, config.num_genres = own.num_artists, own.num_genres
            if self._adapters is not None:
                after.grow(config)
        if self._adapters is not None:
            for level in self.loaded_levels:
                self._adapt(level, getattr(self, f"prior_{level}"))

    def _restore(self, level: int, prior: JukeboxPrior, original: Original | None) -> None:
        if original is None:  # not kept: what was changed is read again
            fresh = self._source.load_prior(level, self._stored_config(level), prior.device)
            tables = {kind: getattr(fresh.labels, kind) for kind in ("artist", "genre")} if fresh.labels else {}
            changed = {module for parts in self._adapters.parts.values() for module in parts.lora.get(level, {})}
            paths = [f"{module}.weight" for module in changed]
            original = Original({path: fresh.get_parameter(path).data for path in paths}, tables)
        restore(prior, original)

    def _adapt(self, level: int, prior: JukeboxPrior) -> JukeboxPrior:
        """Give a prior, as it was read from its files, the adapters that sing."""
        if self._adapters is not None:
            active = self._adapters if self._enabled else self._adapters.weighted({})
            original = active.apply(prior)
            self._originals[level] = original if self._keeps_base else None
        return prior

    def _adapted_alone(self, prior: JukeboxPrior) -> JukeboxPrior:
        """The same for a prior that is not the model's own, such as its first layers."""
        if self._adapters is not None:
            (self._adapters if self._enabled else self._adapters.weighted({})).apply(prior)
        return prior

    def _is_adapted(self, level: int) -> bool:
        """Whether a prior is another than its files hold."""
        return self._adapters is not None and level in self._adapters.levels()


def _agree(one: LabelVocabulary, other: LabelVocabulary) -> bool:
    """Whether names that both know have the same ids."""
    pairs = ((one.artists, other.artists), (one.genres, other.genres))
    return all(theirs.get(name, number) == number for ours, theirs in pairs for name, number in ours.items())


def _names(said: Any) -> list[str]:
    names = [said] if isinstance(said, str) else said
    require(
        isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names),
        f"adapter_names={said!r:.80} must be a name or a list of names; give those that load_adapter gave",
    )
    require(
        len(set(names)) == len(names),
        f"adapter_names={said!r:.80} names one adapter twice; say it once, with one weight",
    )
    return list(names)


def check_weight(name: str, weight: object) -> None:
    """Refuse what is no weight of an adapter.

    Raises:
        ValueError: in one sentence.
    """
    value = plain(weight)
    require(
        is_number(value) and math.isfinite(value) and abs(value) <= 10,
        f"{name}={weight!r} must be a finite number from -10 to 10, such as 0.7",
    )
