"""How a run uses the machine: device, dtype, songs side by side, where priors wait, and how they step.

Flows in: requests, and what the user said. Flows out: a `DeviceChoice`, made from the memory that is free now; and,
once songs are grouped, where priors wait and the one line that says it all. What the user said is taken as it is.
"""

import importlib.util
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from jukebox_hf.app.memory import DTYPES_BY_SIZE, Fit, LevelMemory, Needs, fit, free_bytes, memory_needs, sized_like
from jukebox_hf.app.repository_facts import configuration_of, stored_dtype
from jukebox_hf.app.runs.run_options import RunOptions
from jukebox_hf.app.runs.song_request import SongRequest
from jukebox_hf.app.runs.song_values import by_level, level_list
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.configuration.configuration_jukebox import JukeboxConfig
from jukebox_hf.model.sampling.cpp_library import native_library, why_not_native

NO_MODEL = "--model is missing: name a converted repository, such as --model my-jukebox, one on the Hub, or tiny"
_LEFT_FREE = 5  # a fifth, when more than one song is written: a run takes hours, and others may want some


@dataclass(frozen=True)
class DeviceChoice:
    """What is chosen before a model is opened.

    Attributes:
        device: where songs are written.
        dtype: of the priors; None for what the files hold.
        songs: written side by side, at most.
        rows: of a batch, at most: windows written at once, where those of one song may lie side by side, and with
            guidance two or three of each.
        levels: what every prior takes that is needed, in the dtype.
        free: bytes that may be taken there.
        offload: what the user said of it.
        words: device, dtype and steps, as the line says them.
    """

    device: torch.device
    dtype: str | None
    songs: int
    rows: int
    levels: Mapping[int, LevelMemory]
    free: int
    offload: bool | None
    words: tuple[str, str, str]


@dataclass(frozen=True)
class Group:
    """Songs that are written side by side: how many, and by level of how many windows at once, with rows of each."""

    songs: int
    windows: Mapping[int, int]
    rows_each: Mapping[int, int] = field(default_factory=dict)

    @property
    def rows(self) -> dict[int, int]:
        """Rows of a batch at each level."""
        return {level: count * self.rows_each.get(level, 1) for level, count in self.windows.items()}


@dataclass(frozen=True)
class Residency:
    """Where priors wait while others are at work, and what the whole choice is.

    Attributes:
        offload: in the CPU's memory.
        keep_loaded: on the device; with neither they are read again from their files.
        line: what was chosen and why.
    """

    offload: bool
    keep_loaded: bool
    line: str


def choose_run(requests: Sequence[SongRequest], options: RunOptions, is_begun: bool = False) -> DeviceChoice:
    """Choose for songs of one model.

    A step reads every weight once for all songs, so as many as fit are written side by side; where not all do, equally
    many at a time. One song is always tried where the dtype was said.

    Args:
        is_begun: some are unfinished, so that their dtype stands.

    Raises:
        ValueError, OSError: no model named or found, a device that is not here, what needs a GPU where there is none,
            or a song that fits nowhere.
    """
    one = requests[0]
    require(bool(one.model), NO_MODEL)
    config = configuration_of(one.model, revision=one.revision)
    stored, needed = stored_dtype(one.model, revision=one.revision), levels_needed(requests, config)
    needs = {dtype: [levels[level] for level in needed] for dtype, levels in memory_needs(config).items()}
    guided = max(map(_rows_per_window, requests))
    per_window = {dtype: [level.with_rows(guided) for level in levels] for dtype, levels in needs.items()}
    said = None if one.dtype in (None, "keep") else one.dtype
    is_open = one.dtype is None and not is_begun  # a smaller dtype may be chosen
    rooms = {device: room(device) for device in _devices(options.device)}
    dtypes = _smaller(stored) if is_open else (sized_like(said or stored),)
    device, found = _first_fit(per_window, rooms, dtypes, may_fail=is_open)
    _refuse_without_gpu(device, options)
    songs, rows = _at_once(per_window, found, rooms[device], len(requests), options.batch_size, guided)
    first = sized_like(stored)
    dtype = found.dtype if is_open and found.dtype != first else one.dtype
    words = (
        _device_in_words(device, rooms, options.device),
        _dtype_in_words(dtype, said, stored, fit(per_window, 0, (first,)).gigabytes),
        backend_in_words(device, dtype if dtype not in (None, "keep") else stored, options.backend),
    )
    levels = dict(zip(needed, needs[found.dtype], strict=True))
    return DeviceChoice(device, dtype, songs, rows, levels, rooms[device], options.offload, words)


def settle(choice: DeviceChoice, groups: Sequence[Group]) -> Residency:
    """Say where priors wait, now that it is known which songs are written together, and put the choice into words."""
    rows = {level: max(group.rows.get(level, 1) for group in groups) for level in choice.levels}
    needed = max(memory.bytes_for(rows[level]) for level, memory in choice.levels.items())
    keep_loaded, offload = _while_they_wait(choice, rows, len(groups))
    if choice.offload is not None:
        keep_loaded, offload = keep_loaded and not choice.offload, choice.offload
    songs, wanted = max(group.songs for group in groups), sum(group.songs for group in groups)
    windows = max(max(group.windows.values()) for group in groups)
    guided = max((each for group in groups for each in group.rows_each.values()), default=1)
    device, priors, steps = choice.words
    words = [
        priors,
        "1 song" if wanted == 1 else f"{songs} of {wanted} songs side by side",
        *[f"at most {windows} windows at once"] * (windows > songs),
        *[f"{guided} rows of each for guidance"] * (guided > 1),
        f"about {needed / 1e9:.1f} GB{' (more than is free)' * (needed > choice.free)}",
        *["priors stay loaded"] * keep_loaded,
        *["priors wait in the CPU's memory (offload)"] * offload,
        *["no offload"] * (choice.device.type == "cuda" and not offload),
        steps,
    ]
    flags = "--device, --dtype, --batch-size, --offload and --backend override"
    return Residency(offload, keep_loaded, f"{device}: {', '.join(words)}; {flags}")


def the_device(name: str) -> torch.device:
    """The device of a name; a bad one is refused."""
    return _devices(name)[0]


def room(device: torch.device) -> int:
    """Bytes that this process may take: of a CPU's memory a share, where several processes make songs."""
    said = os.environ.get("LOCAL_WORLD_SIZE", "")
    share = int(said) if device.type == "cpu" and said.isdecimal() else 1
    return free_bytes(device) // max(share, 1)


def backend_in_words(device: torch.device, dtype: str, backend: str) -> str:
    """The backend that `sample_window` will choose, and why not cpp, told before a prior is there."""
    if backend != "auto":
        return f"backend {backend} as asked"
    if device.type == "cuda":
        return "backend cuda_graph"
    if device.type != "cpu" or dtype not in DTYPES_BY_SIZE:
        return f"backend eager (cpp is not made for {dtype if device.type == 'cpu' else device})"
    return "backend cpp" if native_library() is not None else f"backend eager ({why_not_native()})"


def unusable(name: str, error: Exception) -> ValueError:
    """What to raise for a device that torch refuses: the first of its sentences is the reason."""
    reason = str(error).splitlines()[0].split(". ")[0]
    return ValueError(f"--device {name} cannot be used here ({reason}); try cpu")


def _devices(name: str) -> list[torch.device]:
    """Where a run may happen, the best first."""
    if name == "auto":
        if not torch.cuda.is_available():
            return [torch.device("cpu")]
        number = int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count()
        return [torch.device("cuda", number), torch.device("cpu")]
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise unusable(name, error) from None
    require(device.type != "meta", "--device meta holds no numbers, so it can make no song; try cpu")
    is_missing = device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()
    require(not is_missing, f"--device {name} is not there: this machine has {torch.cuda.device_count()}; try cpu")
    return [device]


def levels_needed(requests: Sequence[SongRequest], config: JukeboxConfig) -> list[int]:
    """Levels whose priors are loaded: those that may be written, and the one that then tells when lyrics are sung."""
    count, needed = len(config.prior_configs), set()
    for request in requests:
        said = level_list(request.levels)
        needed.update(range(count - (request.kind == "upsample")) if said is None else said)
        if request.lyrics.strip():
            priors = enumerate(config.prior_configs)
            needed.update(level for level, prior in priors if prior.alignment_layer is not None)
    return sorted(needed & set(range(count))) or list(range(count))


def _refuse_without_gpu(device: torch.device, options: RunOptions) -> None:
    require(
        not (options.offload and device.type == "cpu"),
        "--offload moves priors between a GPU and the CPU's memory, but the device is cpu; leave it out",
    )
    require(
        options.backend != "cuda_graph" or device.type == "cuda",
        f"--backend cuda_graph needs CUDA, but the device is {device}; leave it out, or use eager",
    )


def _smaller(stored: str) -> tuple[str, ...]:
    """The dtypes that may be chosen, what the files hold first; int8 only where it can be made or read."""
    smaller = DTYPES_BY_SIZE[DTYPES_BY_SIZE.index(sized_like(stored)) :]
    return smaller if stored == "int8" or _has_torchao() else tuple(d for d in smaller if d != "int8")


def _has_torchao() -> bool:
    return importlib.util.find_spec("torchao") is not None


def _first_fit(
    needs: Needs, rooms: dict[torch.device, int], dtypes: Sequence[str], may_fail: bool
) -> tuple[torch.device, Fit]:
    """The first device that a song fits, and in which dtype; the first of all if none and that `may_fail` not."""
    fits = {device: fit(needs, free, dtypes) for device, free in rooms.items()}
    for device, found in fits.items():
        if found.songs:
            return device, found
    device, found = next(iter(fits.items()))
    if may_fail:
        free = " and ".join(f"{device} has {free / 1e9:.1f} GB free" for device, free in rooms.items())
        small, cure = fit(needs, max(rooms.values()), ("int8",)), ""
        if small.songs and "int8" not in dtypes:
            cure = f'; int8 would fit with {small.gigabytes:.1f} GB: pip install "jukebox_hf[quant]"'
        raise ValueError(
            f"{free}, but one song needs about {found.gigabytes:.1f} GB even in {found.dtype}; free some, or use "
            f"another --device{cure}"
        )
    return device, found


def _rows_per_window(request: SongRequest) -> int:
    """How many rows of a batch a window takes at most, as far as a request says it; plans know it of each level."""
    said = (by_level(name, getattr(request, name), float) for name in ("guidance_scale", "lyrics_guidance"))
    numbers = (scale.values() if isinstance(scale, dict) else [scale] for scale in said)
    return 1 + sum(any(number not in (None, 1) for number in scales) for scales in numbers)


def _at_once(needs: Needs, found: Fit, free: int, wanted: int, said: int | None, guided: int) -> tuple[int, int]:
    """Songs written side by side, and rows at most; `needs` are of windows of `guided` rows."""
    if said is not None:
        return min(max(said // guided, 1), wanted), said
    most = max(fit(needs, _shared(free), (found.dtype,)).songs, 1)
    return -(-wanted // -(-wanted // most)), most * guided


def _while_they_wait(choice: DeviceChoice, rows: Mapping[int, int], num_groups: int) -> tuple[bool, bool]:
    """Where priors wait while others are at work: (on the device, in the CPU's memory); else they are read again.

    Only worth it where more songs come after these.
    """
    if num_groups < 2:
        return False, False
    weights = sum(memory.weights for memory in choice.levels.values())
    largest = max(memory.bytes_for(rows[level]) - memory.weights for level, memory in choice.levels.items())
    if weights + largest <= _shared(choice.free):
        return True, False
    return False, choice.device.type == "cuda" and weights <= _shared(room(torch.device("cpu")))


def _shared(free: int) -> int:
    """What many songs may take of it."""
    return free - free // _LEFT_FREE


def _device_in_words(device: torch.device, rooms: dict[torch.device, int], said: str) -> str:
    passed = list(rooms)[: list(rooms).index(device)]
    why = [f"{other} has {rooms[other] / 1e9:.1f}, too little" for other in passed]
    if said == "auto" and device.type == "cpu" and not passed:
        why = ["no GPU is here"]
    return f"{device} with {rooms[device] / 1e9:.1f} GB free" + "".join(f" ({reason})" for reason in why)


def _dtype_in_words(dtype: str | None, said: str | None, stored: str, needed: float) -> str:
    if said is not None:
        return f"priors in {said} as asked"
    if dtype in (None, "keep"):
        return f"priors in {stored} as stored"
    return f"priors in {dtype}, since {stored} needs about {needed:.1f} GB"
