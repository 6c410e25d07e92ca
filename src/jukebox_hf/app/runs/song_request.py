"""One song in words, as a value: every option of a song is declared here, once, as a field.

Flows in: options of a command line, a line of a songs.jsonl, a request saved earlier. Flows out: a `SongRequest`. From
a field's metadata come its option and its help, its check, its place in songs.jsonl and the argument of `generate` that
it becomes. docs/explanation/architecture.md shows how to add one.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from jukebox_hf.app.options import Option, declared, flag_of, in_lower_case, options_of
from jukebox_hf.app.runs import song_values as values
from jukebox_hf.model.checks.takes_wanted import TAKE_RULES
from jukebox_hf.model.checks.validation import require

SONG_COMMANDS = ("generate", "continue", "upsample", "repaint")
_WHOLE = ("generate", "continue", "upsample")  # which write a song to its end


@dataclass(frozen=True, kw_only=True)
class SongOption(Option):
    """What a field of `SongRequest` says of itself.

    Attributes:
        check: refuses what is no such value, in one sentence.
        argument: of `JukeboxModel.generate`, where the field becomes one; "" elsewhere.
        parse: the value as that argument takes it, from the name and the value.
        is_word: `JukeboxProcessor` takes it by the same name; seconds, prompt and seed are given to it apart.
        is_inherited: `continue` and `upsample` take it from the older song.
    """

    check: values.Check
    commands: tuple[str, ...] = SONG_COMMANDS
    argument: str = ""
    parse: Callable[[str, Any], Any] = lambda name, value: value
    is_word: bool = False
    is_inherited: bool = True


def _of(part: str) -> Callable[..., Any]:
    """Declares fields that are about one part: (default, help, check, ...)."""
    return lambda default, help, check, **more: declared(default, SongOption(help=help, of=part, check=check, **more))


_model, _file_option, _song, _drawing = map(_of, ("model", "file", "song", "drawing"))


def _numbers_by_level(help: str, kind: Callable[[str], Any], argument: str) -> Any:
    """A field of numbers for all levels or by level, which `generate` takes under the name `argument`."""
    return _drawing(
        None, help, values.read_numbers, argument=argument, parse=lambda name, value: values.by_level(name, value, kind)
    )


@dataclass(frozen=True)
class SongRequest:
    """One song in words; plain values only, so that it is the same after a trip through JSON.

    Each field says in its `help` what it is. None is as if not said.
    """

    kind: str = _model(
        "generate", "The command.", values.one_of(lambda: SONG_COMMANDS), commands=(), is_inherited=False
    )
    model: str = _model(
        "", "Folder of a converted repository, its name on the Hub, or tiny (inside the package).", values.read_path
    )
    revision: str | None = _model(None, "Branch, tag or commit of a model on the Hub.", values.read_name)
    dtype: str | None = _model(
        None,
        "Data type of the priors' weights: keep (as stored), float32, bfloat16, float16, or int8 (needs torchao).",
        values.read_name,
        callback=in_lower_case,
    )
    adapter: tuple[str, ...] = _model(
        (),
        "Adapter or style to sing with, beside the model: folder, style file or name on the Hub, and its weight, as "
        "NAME:0.7 (default: 1); once for each.",
        values.read_adapters,
        is_repeated=True,
    )
    lyrics: str = _song(
        "",
        "All lyrics of the song; auto: the model writes them, by the seed.",
        values.read_lyric_text,
        is_word=True,
        file_help="File with the lyrics: text, LRC, SRT, WebVTT, JSON of timed words, or the .json of an older song.",
    )
    lyrics_written: bool = _song(
        False, "The model wrote the lyrics.", values.read_switch, commands=(), is_inherited=False
    )
    lyric_times: str | None = _song(
        None,
        "Times of the lyrics, by which the words of each window are chosen: file (those in --lyrics-file), or from "
        "which second of the whole song on which character is sung, as 0@1.5,8@2.25.",
        values.read_times,
        is_word=True,
    )
    artist: str = _song(
        "unknown",
        "Name of the artist, as `jukebox-hf labels list` writes it; several mixed by weight as NAME:0.7,NAME:0.3, one "
        "for each level as 2=NAME,0=NAME, or from a second on as NAME@0,NAME@6.5.",
        values.read_label_mix,
        is_word=True,
    )
    genre: str = _song(
        "unknown",
        "Name of the genre, as `jukebox-hf labels list` writes it, or a mix as of artists.",
        values.read_label_mix,
        is_word=True,
    )
    strict: bool = _song(
        True,
        "Refuse an artist or genre that is not listed where a listed name is close (the default), or use 'unknown' in "
        "its place.",
        values.read_switch,
    )
    title: str | None = _song(
        None, "Title of the song: written into its file, side-car, picture and karaoke page.", values.read_name
    )
    seconds: float | None = _song(
        None,
        "Length of the audio in seconds, prompt included (default: 20, or less for a model of shorter songs; "
        "continue adds as much).",
        values.seconds_from(values.LEAST_SECONDS),
        commands=_WHOLE,
        is_inherited=False,
    )
    song_seconds: float | None = _song(
        None,
        "Length in seconds of the whole song that the audio is part of.",
        values.seconds_from(values.LEAST_SECONDS),
        is_word=True,
    )
    offset: float = _song(
        0.0, "Second of the whole song at which the audio begins.", values.seconds_from(0), is_word=True
    )
    lyrics_from: float | None = _song(
        None, "Second of the audio at which the lyrics begin.", values.seconds_from(0), is_word=True
    )
    prompt: str | None = _song(
        None, "Recording that the song continues.", values.read_recording, commands=("generate",), is_inherited=False
    )
    prompt_seconds: float | None = _song(
        None,
        "Length of the prompt to keep, in seconds (default: all of it).",
        values.seconds_from(values.LEAST_SECONDS),
        commands=("generate",),
        is_inherited=False,
    )
    prompt_sha256: str | None = _song(
        None, "The prompt's file, by its SHA-256.", values.read_name, commands=(), is_inherited=False
    )
    codes: str | None = _song(
        None, "File of codes that the song continues.", values.read_file, commands=(), is_inherited=False
    )
    keep_seconds: float | None = _song(
        None,
        "Length of the older song to keep, in seconds (default: all of it).",
        values.seconds_from(values.LEAST_SECONDS),
        flag="keep",
        commands=("continue",),
        is_inherited=False,
    )
    from_second: float | None = _song(
        None,
        "Second at which the stretch begins that is sung again.",
        values.seconds_from(0),
        flag="from",
        commands=("repaint",),
        is_inherited=False,
    )
    to_second: float | None = _song(
        None,
        "Second at which that stretch ends.",
        values.seconds_from(0),
        flag="to",
        commands=("repaint",),
        is_inherited=False,
    )
    seed: int = _drawing(0, "Random seed: the same seed gives the same song (default: a new one).", values.read_seed)
    levels: str | None = _drawing(
        None,
        "Levels to write, coarsest first: 2,1,0 for three, 2 for the top level alone (default: all).",
        values.read_levels,
        argument="levels",
        parse=lambda name, value: values.level_list(value),
        commands=_WHOLE,
        is_inherited=False,
    )
    hop_fraction: str | None = _numbers_by_level(
        "New share of each next window: one number such as 0.5, or by level 2=0.125,1=0.5.",
        float,
        "hop_fractions",
    )
    temperature: str | None = _numbers_by_level(
        "Sampling temperature: one number such as 0.99, or by level 2=0.99,1=0.9.",
        float,
        "temperature",
    )
    top_k: str | None = _numbers_by_level(
        "Sample from the k likeliest codes only: one number, or by level 2=100 (default: all).",
        int,
        "top_k",
    )
    top_p: str | None = _numbers_by_level(
        "Sample from the likeliest codes whose probabilities add up to p: one number, or by level 2=0.9 "
        "(default: all).",
        float,
        "top_p",
    )
    min_p: str | None = _numbers_by_level(
        "Sample from the codes at least p times as likely as the likeliest: one number, or by level 2=0.05 "
        "(default: all).",
        float,
        "min_p",
    )
    typical_p: str | None = _numbers_by_level(
        "Sample from the codes whose surprise is nearest to the expected one and whose probabilities add up to p: one "
        "number, or by level 2=0.9 (default: all).",
        float,
        "typical_p",
    )
    epsilon_cutoff: str | None = _numbers_by_level(
        "Sample from the codes of this probability or more, and always from the likeliest: one number, or by level "
        "2=0.0005 (default: all).",
        float,
        "epsilon_cutoff",
    )
    recall: str | None = _drawing(
        None,
        "Stretch of the song, in seconds, that later windows of the top level read again in place of the oldest codes "
        "they know, as a chorus returns: 0-8, or 0-8@30 for from second 30 on.",
        values.read_stretch,
        commands=("generate", "continue", "repaint"),
        argument="recall",
        parse=values.stretch,
        is_inherited=False,
    )
    follow_lyrics: bool = _drawing(
        False,
        "Choose the lyrics of each window of the top level by where the song has got to in them, instead of assuming "
        "that they are spread evenly.",
        values.read_switch,
        commands=("generate", "continue", "repaint"),
        argument="follow_lyrics",
        is_inherited=False,
    )
    guidance_scale: str | None = _numbers_by_level(
        "Strength of guidance by all that is told: 1 is off (the default), more moves away from a song told less; one "
        "number, or by level 2=3.",
        float,
        "guidance_scale",
    )
    guidance_on: str | None = _drawing(
        None,
        "Words that guidance hides to compare with: labels (an unknown artist and genre), lyrics (no lyrics), or both "
        "(the default).",
        values.one_of(values.guided_by),
        argument="guidance_on",
        callback=in_lower_case,
    )
    lyrics_guidance: str | None = _numbers_by_level(
        "Strength of guidance by the lyrics, apart from artist and genre: 1 is off (the default); one number, or by "
        "level 2=3.",
        float,
        "lyrics_guidance",
    )
    draw: str | None = _drawing(
        None,
        "Way of drawing codes: inverse (by the inverse distribution function, the default) or gumbel (the largest of "
        "logits and noise); the same probabilities, another song.",
        values.one_of(values.draws),
        argument="draw",
        callback=in_lower_case,
    )
    parallel_windows: bool = _drawing(
        False,
        "Write the windows of the upsamplers side by side: faster; the result differs from the default.",
        values.read_switch,
        argument="parallel_windows",
        can_be_off=True,  # where the older song's were
    )
    stereo: bool = _drawing(
        False,
        "Write the finer levels a second time, for two channels whose middle is the mono song: an effect.",
        values.read_switch,
        commands=_WHOLE,
        argument="stereo",
        is_inherited=False,
    )
    takes: int = _drawing(
        1,
        "Number of takes of the top level, or of the stretch, side by side; the best is kept.",
        values.read_count,
        commands=("generate", "repaint"),
        is_inherited=False,
    )
    keep: int = _drawing(
        1,
        "Number of takes to refine to the end, the best first; --out is a folder for more than one.",
        values.read_count,
        commands=("generate",),
        is_inherited=False,
    )
    choose_by: str = _drawing(
        TAKE_RULES[0],
        "Rule that takes are chosen by: likelihood (fewest bits), self (bits that artist and genre save) or lyrics "
        "(words reached, in order).",
        values.one_of(lambda: TAKE_RULES),
        commands=("generate",),
        callback=in_lower_case,
        is_inherited=False,
    )
    format: str = _file_option(
        "wav",
        "Format of the audio file: wav (16 bit), wav24, wavfloat, flac, flac24, mp3, ogg or opus; by default that "
        "of the file's suffix.",
        values.one_of(values.audio_formats, values.audio_format),
        callback=in_lower_case,
        is_inherited=False,
    )
    normalize: str = _file_option(
        "none",
        "Loudness of the file: none keeps it as sampled, peak scales the loudest sample to full scale (mp3, ogg, opus: "
        "1 dB below).",
        values.one_of(values.normalizations),
        callback=in_lower_case,
    )

    def to_dict(self) -> dict[str, Any]:
        """Everything that was said, for a file."""
        return asdict(self)


SONG_OPTIONS: dict[str, SongOption] = options_of(SongRequest)
COMMAND_LINE = "the command line"  # where a value stands, for sentences
SONG_WORDS_OF_REQUESTS = tuple(name for name, option in SONG_OPTIONS.items() if option.is_word)


def read_request(
    given: Mapping[str, Any], where: str = "the request", known: Collection[str] = tuple(SONG_OPTIONS)
) -> SongRequest:
    """Check plain values from outside and make a request of them; None is as if not said.

    Args:
        given: by the names of the fields.
        where: they stand, for the sentence.
        known: names that may be given.

    Raises:
        ValueError: a name that is unknown, or a value of the wrong kind.
    """
    unknown = sorted(set(map(str, given)) - set(known))
    require(not unknown, f"{where} has {', '.join(unknown)}, which is no option of a song; known: {', '.join(known)}")
    kept = {
        name: SONG_OPTIONS[name].check(where, said_as(name, where), value)
        for name, value in given.items()
        if value is not None
    }
    return SongRequest(**kept)


def said_as(name: str, where: str) -> str:
    """What whoever said it calls a field: its option, or its name in a file."""
    option = SONG_OPTIONS[name]
    return flag_of(name, option) if where == COMMAND_LINE and option.commands else name


def without_replaced(older: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """What an older song says, but for what is `said` now takes the place of, or leaves without effect.

    Times are of the words that they were said with, and lyrics begin in one place, where there are any. One cut is made
    at a level, and what guidance hides needs guidance. What the two say together may still exclude each other.
    """
    kept = dict(older) | _without_cuts(older, said)
    for name in _replaced(older, said):
        kept.pop(name, None)
    return {name: value for name, value in kept.items() if value is not None or older[name] is None}


def _replaced(older: Mapping[str, Any], said: Mapping[str, Any]) -> Iterator[str]:
    """Names of what is to be dropped whole."""
    is_silent = said.get("lyrics") == ""
    if {"lyrics", "lyrics_from", "follow_lyrics"} & set(said):
        yield "lyric_times"
    if is_silent or "lyric_times" in said:
        yield "lyrics_from"
    if is_silent or said.get("guidance_on") in ("labels", "lyrics"):
        yield "lyrics_guidance"
    if is_silent and older.get("guidance_on") == "lyrics":
        yield from ("guidance_on", "guidance_scale")
    told = {**older, **said}
    scale, of_lyrics = _numbers("guidance_scale", told), _numbers("lyrics_guidance", told)
    is_off = scale == {None: 1} and all(number == 1 for number in of_lyrics.values())
    is_told_apart = any(number != 1 for number in _numbers("lyrics_guidance", said).values())
    if is_off or is_told_apart:
        yield "guidance_on"
    if said.get("parallel_windows") and said.get("kind") == "upsample":  # all of whose windows these are
        yield "hop_fraction"


def _without_cuts(older: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, str | None]:
    """The cuts of an older song but at the levels at which another one is said now; None: no cut is left.

    One that is for all levels stays beside one that is not, and is refused with it.
    """
    from jukebox_hf.model.sampling.sampling_ops import CUTS, SamplingSettings  # torch: too slow for --help

    off = {name: getattr(SamplingSettings, name) for name in CUTS}  # what leaves nothing out
    now = {name: {k for k, number in _numbers(name, said).items() if number != off[name]} for name in off}
    left: dict[str, str | None] = {}
    for name in off:
        others = set().union(*(levels for other, levels in now.items() if other != name))
        theirs = _numbers(name, older)
        kept = {} if None in others else {level: n for level, n in theirs.items() if level not in others}
        if kept != theirs:
            left[name] = ",".join(f"{level}={number:g}" for level, number in kept.items()) or None
    return left


def _numbers(name: str, said: Mapping[str, Any]) -> dict[int | None, float]:
    """What is said of a field by level, {None: number} where it is of all."""
    found = None if said.get(name) is None else SONG_OPTIONS[name].parse(name, said[name])
    return found if isinstance(found, dict) else {} if found is None else {None: found}


def drawing_arguments(request: SongRequest) -> dict[str, Any]:
    """What a request says of levels and draws, as `JukeboxModel.generate` takes it."""
    return {
        option.argument: option.parse(name, getattr(request, name))
        for name, option in SONG_OPTIONS.items()
        if option.argument
    }


def differences(one: SongRequest, other: SongRequest) -> list[str]:
    """The names of what two requests do not agree on."""
    return [field.name for field in fields(SongRequest) if getattr(one, field.name) != getattr(other, field.name)]
