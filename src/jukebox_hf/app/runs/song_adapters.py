"""The adapters and styles that songs are sung with: read before the model is opened, put onto it when it is.

Flows in: what `--adapter` says. Flows out: a configuration and a processor that know the new names, a model that sings
with them, and digests, so that no song goes on with others.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

from jukebox_hf.app.runs.model_fingerprint import Fingerprint
from jukebox_hf.app.runs.song_values import adapter_and_weight
from jukebox_hf.model.adapters.adapter_files import AdapterParts, read_adapter
from jukebox_hf.model.adapters.adapter_set import AdapterSet
from jukebox_hf.model.configuration.configuration_jukebox import JukeboxConfig
from jukebox_hf.model.inputs.processing_jukebox import JukeboxProcessor
from jukebox_hf.model.modeling_jukebox import JukeboxModel


@dataclass(frozen=True)
class SongAdapters:
    """Adapters as read, and how much of each sings."""

    found: tuple[tuple[AdapterParts, float], ...]

    def told_to(self, config: JukeboxConfig, processor: JukeboxProcessor) -> tuple[JukeboxConfig, JukeboxProcessor]:
        """A configuration and a processor that know the names they bring.

        Raises:
            ValueError: a name that the model knows already, or matrices that it has no place for.
        """
        if not self.found:
            return config, processor
        adapters, grown = AdapterSet(processor.tokenizer), copy.deepcopy(config)
        for parts, _ in self.found:
            adapters = adapters.plus(parts.name, parts)
            adapters.check(parts, {prior.level: prior for prior in config.prior_configs})
        for prior in grown.prior_configs:
            adapters.grow(prior)
        return grown, JukeboxProcessor.from_config(grown, adapters.tokenizer())

    def put_on(self, model: JukeboxModel) -> JukeboxModel:
        """Let a model sing with them; gives the model.

        Raises:
            ValueError: an adapter of another base.
        """
        for parts, weight in self.found:
            model.take_adapter(parts, weight=weight, keep_base=False)
        return model

    def noted_in(self, files: Fingerprint) -> Fingerprint:
        """The digests of a model's files, and those of the adapters."""
        own = {f"the adapter {parts.name}": f"{weight:.12g} {parts.digest}" for parts, weight in self.found}
        return replace(files, digests={**files.digests, **own})


def read_song_adapters(said: Sequence[str]) -> SongAdapters:
    """Read what `--adapter` names.

    Raises:
        ValueError, OSError: as `read_adapter`.
    """
    pairs = [adapter_and_weight("--adapter", each) for each in said]
    return SongAdapters(tuple((read_adapter(name), weight) for name, weight in pairs))
