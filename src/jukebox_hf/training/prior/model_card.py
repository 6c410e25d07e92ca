"""The model card of a trained prior.

Flows in: what was trained and what the log says. Flows out: Markdown with the front matter that the Hub reads.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from jukebox_hf.model.checkpoints.repository_card import front_matter, name_on_hub, told
from jukebox_hf.model.configuration.configuration_jukebox import JukeboxPriorConfig

_HOW_TO_USE = "It writes codes; a whole Jukebox (`jukebox-hf assemble`) makes sound of them."  # in every card
_MEASURES = ("loss", "bits_per_code", "bits_per_character")


def prior_card(
    name: str,
    config: JukeboxPriorConfig,
    logs: Sequence[Mapping[str, Any]],
    base: str | None = None,
    has_adapters: bool = False,
    datasets: Sequence[str] = (),
) -> str:
    """Write the card of a prior.

    Args:
        name: what it is called.
        config: of the prior.
        logs: the Trainer's log.
        base: the model it was fine-tuned from, if any; paths of this machine are not named.
        has_adapters: it was trained with LoRA.
        datasets: what it was trained on; those of the Hub are named.
    """
    kind = "upsampler" if config.upper_strides else "top prior"
    on_hub = name_on_hub(base)
    front = front_matter(
        license="other",
        base_model=on_hub,
        datasets=[name for name in map(name_on_hub, datasets) if name] or None,
        has_adapters=has_adapters,
    )
    seconds = config.window_samples / config.sampling_rate
    lines = [
        "---",
        front.to_yaml(),
        "---",
        "",
        f"# {name}",
        "",
        f"A Jukebox {kind} for level {config.level}: {config.parameter_count():,} parameters, windows of "
        f"{config.context_length} codes ({seconds:.2f} s at {config.sampling_rate} Hz). It is conditioned on "
        f"{told(config)}.",
        "",
        _measured(logs),
        "",
        "```python",
        "from jukebox_hf import JukeboxPrior",
        "",
        f'prior = JukeboxPrior.from_pretrained("{name}")',
        "```",
        "",
        f"{_HOW_TO_USE} Weights that were fine-tuned from OpenAI's may be used for non-commercial purposes only, as "
        "theirs.",
        "",
    ]
    return "\n".join(lines)


def is_prior_card(text: str) -> bool:
    """Whether a card is one that `prior_card` wrote, of this version or an older one."""
    return _HOW_TO_USE in text


def _measured(logs: Sequence[Mapping[str, Any]]) -> str:
    found = {}
    for prefix, where in (("eval_", "on held-out songs"), ("", "in training")):
        last = next((entry for entry in reversed(logs) if f"{prefix}loss" in entry), None)
        if last is not None:
            numbers = [f"{measure} {last[prefix + measure]:.3f}" for measure in _MEASURES if prefix + measure in last]
            found[where] = f"{', '.join(numbers)} {where}, after {last.get('step', 0)} steps"
    return f"Measured: {'; '.join(found.values())}." if found else "Not measured."
