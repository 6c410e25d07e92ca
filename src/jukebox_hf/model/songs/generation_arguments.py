"""What a user asked of `generate`: keyword arguments and generation configurations become one value.

Flows in: plain arguments, a GenerationConfig, the model's own defaults. Flows out: `GenerateArguments`. transformers
5.17 hands over configurations it has filled up itself; what it filled in is told from what a user set.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from torch import Tensor
from transformers import GenerationConfig

from ..checks.foreign_arguments import check_foreign
from ..checks.seeds import check_seed
from ..checks.takes_wanted import TakesWanted, read_takes
from ..checks.validation import check_level, is_integer, is_number, level_key, plain, read_flag, read_seconds, require
from ..configuration.configuration_jukebox import JukeboxConfig
from ..files.checkpoint_files import read_json_beside
from ..sampling.jacobi_pace import check_jacobi, check_jacobi_fits
from ..sampling.sampling_ops import NUMBER_RULES, WORD_CHOICES, Rule, SamplingSettings
from .contrasts import check_guidance
from .foreign_generation import GENERATE, UNASKED
from .song_plan import TEMPERATURE, ComputeOptions

_DRAWING = ("do_sample", *(one.name for one in fields(SamplingSettings)))
_LENGTHS = ("seconds", "max_new_tokens")
_WINDOWS = ("hop_fractions", "parallel_windows", "chunk", "batch", "backend", "jacobi")
_ANSWERS = ("return_codes", "return_alignment")
_TAKING = ("takes", "keep", "choose_by")
_ON_OR_OFF = ("stereo", "follow_lyrics")
_OTHERS = ("levels", "recall", *_WINDOWS, "seed", "num_return_sequences", *_TAKING, *_ON_OR_OFF, *_ANSWERS)
KNOWN = (*_DRAWING, *_LENGTHS, *_OTHERS)
# Of a call, no defaults of a model.
_OF_SONGS = ("seconds", "seed", "levels", "recall", "follow_lyrics", "num_return_sequences")
_LARGEST = 2**31  # number in a generation_config.json
LEFT_BY_TRANSFORMERS_4 = ("max_length", "bos_token_id", "eos_token_id", "decoder_start_token_id")
_TAKES = f"{', '.join(KNOWN)} and song inputs"


@dataclass(frozen=True)
class GenerateArguments:
    """What to do for all songs of a batch.

    Attributes:
        seconds: length of the audio, prompts included; None: not said.
        new_codes: top-level codes to write after what is known; None: not said.
        default_codes: the same, for songs of which nothing says the length.
        levels: which levels to write; None for all.
        settings: how boldly to draw, and guided how far, by level.
        hop_fractions: by level, see `plan_song`.
        parallel_windows: see `plan_song`.
        compute: how it is computed.
        seed: of the first song, the others count on from it; None: not said.
        return_codes: give the codes of every level beside the audio.
        return_alignment: also say when the lyrics are sung.
        copies: how many songs to write from each song that was given.
        recall: seconds from and to which a stretch lies, and from which it is read again, or None; see `plan_song`.
        taking: how many takes to write of each, and which to keep; None: one.
        stereo: write the finer levels a second time, for two channels.
        follow_lyrics: see `plan_song`.
    """

    seconds: float | None
    new_codes: int | None
    default_codes: int
    levels: tuple[int, ...] | None
    settings: Mapping[int, SamplingSettings]
    hop_fractions: Mapping[int, float]
    parallel_windows: bool
    compute: ComputeOptions
    seed: int | None
    return_codes: bool
    return_alignment: bool
    copies: int = 1
    recall: tuple[float, float, float | None] | None = None
    taking: TakesWanted | None = None
    stereo: bool = False
    follow_lyrics: bool = False


def default_generation_config(config: JukeboxConfig) -> GenerationConfig:
    """The generation_config.json of a model: draw at the original's 0.99, and write one window of the top prior."""
    top = config.prior_configs[-1]
    return GenerationConfig(do_sample=True, temperature=TEMPERATURE, top_k=0, max_new_tokens=top.context_length)


def generation_config_of(name: str, config: JukeboxConfig, is_legacy: bool, **hub: Any) -> GenerationConfig:
    """The generation_config.json of a repository; where there is none, or it is of transformers 4, our defaults.

    Raises:
        ValueError: a file that is no JSON object, or whose values songs cannot use.
    """
    own = default_generation_config(config)
    if (said := read_json_beside(name, "generation_config.json", "", **hub)) is not None:
        check_generation_defaults(said, f"generation_config.json of {name}")
    try:
        found = GenerationConfig.from_pretrained(name, **hub)
    except OSError:
        return own
    for field_name in LEFT_BY_TRANSFORMERS_4 if is_legacy else ():
        setattr(found, field_name, None)
    for field_name in ("do_sample", "temperature", "top_k", "max_new_tokens"):
        if getattr(found, field_name, None) is None:
            setattr(found, field_name, getattr(own, field_name))
    return found


def check_generation_defaults(said: Mapping[str, Any], source: str) -> None:
    """Refuse a generation_config.json whose values are of other kinds than songs need.

    Raises:
        ValueError: in one sentence.
    """
    rules = {
        **NUMBER_RULES,
        "do_sample": Rule(lambda value: isinstance(value, bool), "be true or false"),
        "temperature": Rule(lambda value: is_number(value) and 0 < value <= 100, "be a number over 0, at most 100"),
        "max_new_tokens": Rule(lambda value: is_integer(value) and value > 0, "be an integer over 0"),
        **{name: Rule(words.__contains__, f"be one of {', '.join(words)}") for name, words in WORD_CHOICES.items()},
    }
    for name, rule in rules.items():
        value = said.get(name)
        by_level = list(value.values())[:17] if isinstance(value, dict) and name != "max_new_tokens" else [value]
        numbers = [one for one in by_level if one is not None]
        is_known = len(by_level) <= 16 and all(map(rule.allows, numbers))
        require(is_known, f"{source} says {name}={value!r:.80}, which must {rule.must}; correct it")
        require(
            not any(is_number(one) and one > _LARGEST for one in numbers),
            f"{source} says {name}={value!r:.80}, which is more than {_LARGEST}; correct it",
        )


def read_generate_arguments(
    config: JukeboxConfig, own: GenerationConfig, given: GenerationConfig | None, arguments: Mapping[str, Any]
) -> GenerateArguments:
    """Make one value of everything said; plain arguments win over `given`, `given` over the model's `own` defaults.

    Raises:
        ValueError: an argument that songs do not know or an impossible value, in one sentence.
    """
    arguments = plain(dict(arguments))
    for name, value in arguments.items():
        if name not in (*KNOWN, *UNASKED):
            check_foreign("generate", GENERATE, name, value, _TAKES)
    said = _defaults_of(own) | _said_by(given, own)
    said.update({name: value for name, value in arguments.items() if name in KNOWN and value is not None})
    if any(arguments.get(name) is not None for name in _LENGTHS):  # a plain length replaces what `given` says
        said = {name: value for name, value in said.items() if name not in _LENGTHS or arguments.get(name) is not None}
    require(
        not ("seconds" in said and "max_new_tokens" in said),
        f"seconds={said.get('seconds')!r} and max_new_tokens={said.get('max_new_tokens')!r} both give the length; "
        f"choose one",
    )
    for name in ("max_new_tokens", "num_return_sequences"):
        _check_count(name, said.get(name))
    for name in (*_ON_OR_OFF, *_ANSWERS):
        read_flag(name, said.get(name))
    check_seed(said.get("seed", 0))
    seconds = said.get("seconds")
    if seconds is not None:
        cure, least = "it is the length of the audio, prompts included", 1 / config.sampling_rate
        seconds = read_seconds("seconds", seconds, at_least=least, cure=cure)
    levels, num_levels = said.get("levels"), len(config.prior_configs)
    if isinstance(levels, (Tensor, np.ndarray)) and levels.ndim == 1:
        levels = levels.tolist()
    is_parallel = said.get("parallel_windows", False)
    hops = _by_level("hop_fractions", getattr(own, "hop_fractions", None), dict.fromkeys(range(num_levels)))
    if is_parallel:  # the model's own are not asked for at the levels it is about
        hops = {level: None if config.prior_configs[level].upper_strides else part for level, part in hops.items()}
    hops = _by_level("hop_fractions", said.get("hop_fractions"), hops)
    require(
        levels is None or (isinstance(levels, Sequence) and not isinstance(levels, str)),
        f"levels={levels!r} must be a list such as [2, 1, 0], or None for all",
    )
    return GenerateArguments(
        seconds=seconds,
        new_codes=said.get("max_new_tokens"),
        default_codes=getattr(own, "max_new_tokens", None) or config.prior_configs[-1].context_length,
        levels=None if levels is None else tuple(levels),
        settings=_settings(config, said, own),
        hop_fractions={level: part for level, part in hops.items() if part is not None},
        parallel_windows=is_parallel,
        compute=ComputeOptions(
            said.get("batch"), said.get("chunk"), said.get("backend", "auto"), _read_jacobi(config, said.get("jacobi"))
        ),
        seed=said.get("seed"),
        return_codes=said.get("return_codes", False),
        return_alignment=said.get("return_alignment", False),
        copies=said.get("num_return_sequences", 1),
        recall=_read_recall(said.get("recall")),
        taking=read_takes(said),
        stereo=said.get("stereo", False),
        follow_lyrics=said.get("follow_lyrics", False),
    )


def _read_jacobi(config: JukeboxConfig, value: Any) -> int | str | dict[int, int | str]:
    """How many codes are checked at once: for all levels, or by level."""
    if value is None:
        return 0
    by_level, num_levels = isinstance(value, Mapping), len(config.prior_configs)
    found = {level_key(key): own for key, own in value.items()} if by_level else dict.fromkeys(range(num_levels), value)
    for level, own in found.items():
        check_level("a key of jacobi", level, num_levels)
        name = f"jacobi[{level}]" if by_level else "jacobi"
        check_jacobi(own, name)
        check_jacobi_fits(own, config.prior_configs[level].context_length, name)
    return found if by_level else value


def _read_recall(value: Any) -> tuple[float, float, float | None] | None:
    """A stretch in seconds, and perhaps the second from which it is read again."""
    if value is None:
        return None
    require(
        isinstance(value, (list, tuple)) and len(value) in (2, 3),
        f"recall={value!r:.80} must be (start, stop) or (start, stop, from) in seconds, such as (0, 8)",
    )
    start, stop = (read_seconds("recall", second) for second in value[:2])
    require(start < stop, f"recall={value!r} ends before it begins; give the earlier second first")
    begin = None if len(value) == 2 or value[2] is None else read_seconds("recall", value[2])
    require(
        begin is None or begin >= stop,
        f"recall={value!r} is to be read again from {begin} s on, before it ends; let that be {stop} or later",
    )
    return start, stop, begin


def _said_by(given: GenerationConfig | None, own: GenerationConfig) -> dict[str, Any]:
    """The wishes in a configuration: what is neither the model's own nor filled in by transformers."""
    if given is None:
        return {}
    require(
        isinstance(given, GenerationConfig),
        f"generation_config={type(given).__name__} must be a transformers.GenerationConfig; make one, or "
        f"pass them as they are",
    )
    filled_in = _filled_in(given)
    said = {}
    for name, value in plain(given.to_dict()).items():
        of_model = plain(getattr(own, name, None))
        if value is None or value == of_model or name in UNASKED or name.startswith("_"):
            continue
        if of_model is None and name in filled_in and value == filled_in[name]:
            continue
        if name in KNOWN:
            said[name] = value
        elif name not in GENERATE or not GENERATE[name].allows(value):
            why = f", {GENERATE[name].cure}" if name in GENERATE else ""
            raise ValueError(
                f"generation_config.{name}={value!r} is not supported by Jukebox{why}; it takes {', '.join(KNOWN)}"
            )
    return said


def _filled_in(given: GenerationConfig) -> dict[str, Any]:
    """What 5.17's pipelines put into all fields that nobody set; nothing where a user made the configuration."""
    # Private, so it may go; then nobody fills in either.
    defaults = getattr(GenerationConfig, "_get_default_generation_params", dict)()
    is_filled = all(getattr(given, name, None) is not None for name, value in defaults.items() if value is not None)
    return defaults if is_filled else {}


def _defaults_of(own: GenerationConfig) -> dict[str, Any]:
    """What a model's own configuration says beyond how to draw and how long, which are looked up where they matter.

    Raises:
        ValueError: what Jukebox does not know, what belongs to a single call, or a name that is nearly one of ours.
            Other names, such as those of later versions, mean nothing.
    """
    found = {}
    for name, value in plain(own.to_dict()).items():
        if value is None:
            continue
        close = [] if name in (*KNOWN, *GENERATE, *UNASKED) else difflib.get_close_matches(name, KNOWN, 1, 0.85)
        require(
            not close,
            f"the model's own generation_config.{name}={value!r:.80} is no default of songs; is it {''.join(close)}?",
        )
        is_foreign = name not in KNOWN and name in GENERATE
        require(
            name not in _OF_SONGS and not (is_foreign and not GENERATE[name].allows(value)),
            f"the model's own generation_config.{name}={value!r} cannot be a default of songs; "
            f"{'pass it to generate' if name in _OF_SONGS else GENERATE[name].cure if is_foreign else ''}",
        )
        if name in (*_WINDOWS, *_TAKING, "stereo", *_ANSWERS) and name != "hop_fractions":
            found[name] = value
    return found


def _settings(config: JukeboxConfig, said: Mapping[str, Any], own: GenerationConfig) -> dict[int, SamplingSettings]:
    num_levels = len(config.prior_configs)

    def by_level(name: str, otherwise: Any) -> dict[int, Any]:
        of_model = _by_level(name, getattr(own, name, None), dict.fromkeys(range(num_levels), otherwise))
        return _by_level(name, said.get(name), of_model)

    do_sample = said.get("do_sample", getattr(own, "do_sample", None))
    require(
        do_sample is None or isinstance(do_sample, bool),
        f"do_sample={do_sample!r} must be True, or False for always the likeliest code",
    )
    defaults = {one.name: one.default for one in fields(SamplingSettings)} | {"temperature": TEMPERATURE}
    settings = {name: by_level(name, default) for name, default in defaults.items() if name in NUMBER_RULES}
    for name in WORD_CHOICES:
        value = said.get(name, getattr(own, name, None)) or defaults[name]
        settings[name] = dict.fromkeys(range(num_levels), value)
    if do_sample is False:
        settings["temperature"] = dict.fromkeys(range(num_levels), 0)
    found = {
        level: SamplingSettings(**{name: settings[name][level] for name in settings}) for level in range(num_levels)
    }
    check_guidance(config, found, said)
    return found


def _by_level(name: str, value: Any, otherwise: Mapping[int, Any]) -> dict[int, Any]:
    """One number for all levels, or a dictionary level -> number; what is left out stays as `otherwise`."""
    if value is None:
        return dict(otherwise)
    if not isinstance(value, Mapping):
        value = dict.fromkeys(otherwise, value)
    else:
        value = {level_key(key): item for key, item in value.items()}
    for level, number in value.items():
        check_level(f"a key of {name}", level, len(otherwise))
        require(
            is_number(number) or (number is None and name == "hop_fractions"),
            f"{name}={number!r} must be a number, or a dictionary from level to number",
        )
    return {**otherwise, **value}


def _check_count(name: str, value: Any) -> None:
    require(
        value is None or (is_integer(value) and value > 0),
        f"{name}={value!r} must be a positive integer",
    )
