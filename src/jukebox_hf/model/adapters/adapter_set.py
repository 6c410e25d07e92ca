"""Several adapters at once, each by its weight: new names behind the old ones, and matrices merged.

Flows in: adapters as read, and weights. Flows out: longer lists of names, larger tables, and priors whose matrices are
W + sum of weight * scale * B A. The ids and rows of old names stay. Everything is linear in a weight: at 0 a matrix is
the base's, and a new name sounds like "unknown".
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..checks.validation import require
from ..configuration.configuration_jukebox import JukeboxPriorConfig
from ..inputs.label_vocabulary import RULES, UNKNOWN_ID, LabelVocabulary
from ..inputs.tokenization_jukebox import JukeboxTokenizer
from ..networks.initialization import scaled_embedding
from ..networks.modeling_jukebox_prior import JukeboxPrior
from ..networks.plain_modules import is_packed
from .adapter_files import AdapterParts
from .style_file import NAME_KINDS


@dataclass(frozen=True)
class Original:
    """What a prior was before it was adapted.

    Attributes:
        matrices: by the name of the parameter.
        tables: the embeddings of artists and genres that were replaced.
    """

    matrices: Mapping[str, Tensor]
    tables: Mapping[str, nn.Embedding]


@dataclass(frozen=True)
class AdapterSet:
    """Adapters of one model.

    Attributes:
        lists: the model's own names; None for a model without lists.
        parts: adapters by the name that each was loaded under.
        weights: of those that are active.
        listed: new names in the order of their ids: artist or genre, name, and levels. Those of an adapter that is gone
            stay, so that no id ever means another name.
    """

    lists: JukeboxTokenizer | None
    parts: Mapping[str, AdapterParts] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    listed: tuple[tuple[str, str, tuple[int, ...]], ...] = ()

    def plus(self, name: str, parts: AdapterParts) -> "AdapterSet":
        """The same with another adapter, which is not active yet.

        Raises:
            ValueError: a name that the model knows already, or a model without lists.
        """
        listed = self.listed
        if parts.style is not None:
            require(
                self.lists is not None,
                f"{parts.name} brings names, but this model has no lists of artists and genres; convert it again with "
                f"--labels",
            )
            listed += tuple(
                (kind, each, parts.style.levels)
                for kind, names in parts.style.new.items()
                for each in names
                if all(entry != (kind, each, parts.style.levels) for entry in listed)
            )
            self._check_new(parts)
        return AdapterSet(self.lists, {**self.parts, name: parts}, self.weights, listed)

    def _check_new(self, parts: AdapterParts) -> None:
        lost = [level for level in parts.style.levels if level >= len(self.lists.label_versions)]
        require(
            not lost,
            f"{parts.name} brings names to level {lost and lost[0]}, which this model has not; use its own base",
        )
        for level, kinds in parts.style.vectors.items():
            words = self.lists.vocabularies[self.lists.label_versions[level]]
            for kind, rows in kinds.items():
                known = {_key(words, name) for name in parts.style.new.get(kind, ())} | set(_table(words, kind))
                lost = next((name for name in rows if _key(words, name) not in known), None)
                require(
                    lost is None,
                    f"{parts.name} has a vector for the {kind} {lost!r}, whom it does not bring and this model does "
                    f"not know, so it would change nothing; get it again from whoever made it",
                )
        for kind, names in parts.style.new.items():
            for level in parts.style.levels:
                words = self.lists.vocabularies[self.lists.label_versions[level]]
                taken = next((name for name in names if _key(words, name) in _table(words, kind)), None)
                require(
                    taken is None,
                    f"{parts.name} brings the {kind} {taken!r}, which this model knows already; if it is the same, "
                    f"sing it without this, else import it under another name (jukebox-hf style import --artist)",
                )

    def minus(self, name: str) -> "AdapterSet":
        """The same without one; the last takes the new names along."""
        parts = {other: part for other, part in self.parts.items() if other != name}
        weights = {other: weight for other, weight in self.weights.items() if other != name}
        return AdapterSet(self.lists, parts, weights, self.listed if parts else ())

    def weighted(self, weights: Mapping[str, float]) -> "AdapterSet":
        """The same with other weights."""
        return AdapterSet(self.lists, self.parts, weights, self.listed)

    def levels(self) -> set[int]:
        """Levels that any of them changes, or whose tables grow."""
        changed = {level for parts in self.parts.values() for level in parts.levels}
        return changed | (set() if self.lists is None else set(self._grown()))

    def _grown(self) -> Iterator[int]:
        longer = self.tokenizer()
        for level, version in enumerate(self.lists.label_versions):
            if longer.vocabularies[version] != self.lists.vocabularies[version]:
                yield level

    def tokenizer(self, before: JukeboxTokenizer | None = None) -> JukeboxTokenizer | None:
        """The model's lists, or those of `before`, with the new names behind the old ones."""
        before = self.lists if before is None else before
        if before is None or not self.listed:
            return before
        longer = {version: self._longer(words, before) for version, words in before.vocabularies.items()}
        return JukeboxTokenizer.from_vocabularies(longer, before.label_versions, before.lyric_characters)

    def _longer(self, words: LabelVocabulary, before: JukeboxTokenizer) -> LabelVocabulary:
        tables = {kind: dict(_table(words, kind)) for kind in NAME_KINDS}
        for kind, name, levels in self.listed:
            if any(before.label_versions[level] == words.version for level in levels):
                table = tables[kind]
                table.setdefault(_key(words, name), max(table.values()) + 1)
        return LabelVocabulary(words.version, tables["artist"], tables["genre"])

    def grow(self, config: JukeboxPriorConfig) -> None:
        """Give a configuration rows for all names, in place."""
        if self.lists is None or not config.has_labels:
            return
        for kind, rows in self._sizes(config).items():
            setattr(config, f"num_{kind}s", rows)

    def _sizes(self, config: JukeboxPriorConfig) -> dict[str, int]:
        words = self.tokenizer().vocabularies[self.lists.label_versions[config.level]]
        return {
            kind: max(getattr(config, f"num_{kind}s"), max(_table(words, kind).values()) + 1) for kind in NAME_KINDS
        }

    # --- weights ---

    def check(self, parts: AdapterParts, configs: Mapping[int, JukeboxPriorConfig]) -> None:
        """Refuse matrices and vectors that the priors have no place for.

        Raises:
            ValueError: in one sentence.
        """
        for level in parts.levels:
            require(level in configs, f"{parts.name} adapts level {level}, which this model has not; use its own base")
            with torch.device("meta"):
                prior = JukeboxPrior(configs[level])
            modules = dict(prior.named_modules())
            for module, matrix in parts.lora.get(level, {}).items():
                own = modules.get(module)
                require(
                    isinstance(own, nn.Linear) and tuple(own.weight.shape) == matrix.shape,
                    f"{parts.name} adapts prior_{level}.{module} by a matrix of {matrix.shape[0]} x {matrix.shape[1]}, "
                    f"which this model has not; use the adapter's own base",
                )
            for kind, rows in (parts.style.vectors.get(level, {}) if parts.style is not None else {}).items():
                width = configs[level].hidden_size
                wrong = next((each for each, row in rows.items() if len(row) != width), None)
                require(
                    configs[level].has_labels and wrong is None,
                    f"{parts.name} has a vector of level {level} for {kind} {wrong or next(iter(rows))!r}, but that "
                    f"prior has {f'vectors of {width}' if configs[level].has_labels else 'no names'}; use its own base",
                )

    @torch.no_grad()
    def apply(self, prior: JukeboxPrior) -> Original:
        """Adapt a prior as it was loaded, in place; of one that is cut, the layers there are. Gives what it was.

        Raises:
            ValueError: int8 matrices, into which nothing can be merged.
        """
        level, matrices, tables = prior.config.level, {}, {}
        for path, merged in self._merged(prior, level):
            parameter = prior.get_parameter(path)
            matrices[path] = parameter.data
            parameter.data = merged
        if self.lists is not None and prior.labels is not None:
            sizes = self._sizes(prior.config)
            for kind in NAME_KINDS:
                table = getattr(prior.labels, kind)
                rows = self._rows(table.weight, level, kind, sizes[kind])
                if rows is not None:
                    tables[kind] = table
                    fresh = scaled_embedding(len(rows), table.embedding_dim, table.init_std).to(table.weight)
                    fresh.weight.copy_(rows)
                    setattr(prior.labels, kind, fresh.train(table.training).requires_grad_(table.weight.requires_grad))
                    setattr(prior.config, f"num_{kind}s", len(rows))
        return Original(matrices, tables)

    def _merged(self, prior: JukeboxPrior, level: int) -> Iterator[tuple[str, Tensor]]:
        active = [(self.parts[name].lora.get(level, {}), weight) for name, weight in self.weights.items()]
        modules = dict(prior.named_modules())
        for module in sorted({module for lora, _ in active for module in lora} & modules.keys()):
            weight = modules[module].weight
            require(
                not is_packed(weight),
                f"prior_{level}.{module} is stored as {weight.dtype} by a quantizer, into which no adapter can be "
                f"merged; take the model it was made from, or --dtype bfloat16",
            )
            total = weight.float()
            for lora, share in active:
                if (matrix := lora.get(module)) is not None and share != 0:
                    down, up = matrix.down.to(weight.device), matrix.up.to(weight.device)
                    total = total.addmm(up, down, alpha=share * matrix.scale)
            yield f"{module}.weight", total.to(weight.dtype)

    def _rows(self, table: Tensor, level: int, kind: str, size: int) -> Tensor | None:
        """A table with rows for all names; None where nothing changes."""
        words = self.tokenizer().vocabularies[self.lists.label_versions[level]]
        old = self.lists.vocabularies[words.version]
        rows = torch.cat([table, table[UNKNOWN_ID].expand(size - len(table), -1)])
        for number in set(_table(words, kind).values()) - set(_table(old, kind).values()):
            rows[number] = table[UNKNOWN_ID]
        start, touched = rows.clone(), set()
        for name, share in self.weights.items():
            style = self.parts[name].style
            learnt = {} if style is None or share == 0 else style.vectors.get(level, {}).get(kind, {})
            numbers = {_table(words, kind).get(_key(words, each)): vector for each, vector in learnt.items()}
            for number, vector in numbers.items():
                if number is None:
                    continue
                vector = vector.to(table)
                if number not in touched:
                    rows[number] = start[number].lerp(vector, share)  # exactly the vector at 1
                else:
                    rows[number] += share * (vector - start[number])
                touched.add(number)
        return rows if len(rows) > len(table) or touched else None


@torch.no_grad()
def restore(prior: JukeboxPrior, original: Original) -> None:
    """Make a prior what it was before `AdapterSet.apply`, bit for bit."""
    for path, tensor in original.matrices.items():
        parameter = prior.get_parameter(path)
        parameter.data = tensor.to(parameter)
    for kind, table in original.tables.items():
        own = getattr(prior.labels, kind)
        setattr(prior.labels, kind, table.to(own.weight))
        setattr(prior.config, f"num_{kind}s", table.num_embeddings)


def _table(words: LabelVocabulary, kind: str) -> Mapping[str, int]:
    return words.artists if kind == "artist" else words.genres


def _key(words: LabelVocabulary, name: str) -> str:
    return RULES[words.version].key(name)
