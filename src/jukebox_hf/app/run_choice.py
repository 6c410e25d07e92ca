"""How a run uses the machine: device, dtype, songs side by side, where priors wait, and how they step.

Flows in: a request, how many songs there are, and what the user said. Flows out: a `RunChoice`, made from the memory
that is free now, and the one line that says it. What the user said is taken as it is.
"""

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from jukebox_hf.app.information import stored_dtype
from jukebox_hf.app.memory import DTYPES, Fit, LevelMemory, Needs, fit, free_bytes, memory_needs, sized_like
from jukebox_hf.app.requests import SongRequest
from jukebox_hf.model.checkpoint_files import read_root_config
from jukebox_hf.model.configuration_jukebox import JukeboxConfig
from jukebox_hf.model.embedded import located
from jukebox_hf.model.native_step import compile_native
from jukebox_hf.model.validation import require

NO_MODEL = "--model is missing: name a converted repository, such as --model my-jukebox, or one on the Hub"
_LEFT_FREE = 5  # a fifth, when more than one song is written: a run takes hours, and others may want some


@dataclass(frozen=True)
class RunWishes:
    """What the user said about the machine.

    Attributes:
        device: "auto", "cpu", "cuda:1", ...
        batch_size: songs, or windows side by side, at once; None for as many as fit.
        offload: keep priors in the CPU's memory while they wait; None for where that helps.
        stepping: see `sample_window`.
    """

    device: str = "auto"
    batch_size: int | None = None
    offload: bool | None = None
    stepping: str = "auto"


@dataclass(frozen=True)
class RunChoice:
    """What was chosen.

    Attributes:
        device: where songs are written.
        dtype: of the priors; None for what the files hold.
        songs: written side by side.
        rows: windows written at once, where those of one song may lie side by side.
        offload: priors wait in the CPU's memory.
        keep_loaded: priors wait on the device.
        line: what was chosen and why.
    """

    device: str
    dtype: str | None
    songs: int
    rows: int
    offload: bool
    keep_loaded: bool
    line: str


def choose_run(request: SongRequest, wanted: int, wishes: RunWishes) -> RunChoice:
    """Choose for `wanted` songs like this one.

    A step reads every weight once for all songs, so as many as fit are written side by side; where not all do, equally
    many at a time. One song is always tried where the dtype was said.

    Raises:
        ValueError, OSError: no model named or found, a device that is not here, offload without one to load from, or a
            song that fits nowhere.
    """
    require(bool(request.model), NO_MODEL)
    hub = {} if request.revision is None else {"revision": request.revision}
    config = JukeboxConfig.from_dict(read_root_config(located(request.model), **hub))
    needs, stored = memory_needs(config), stored_dtype(request.model, **hub)
    said = None if request.dtype in (None, "keep") else request.dtype
    is_open = request.dtype is None  # a smaller dtype may be chosen
    rooms = {place: room(place) for place in _places(wishes.device)}
    dtypes = _smaller(stored) if is_open else (sized_like(said or stored),)
    place, found = _first_fit(needs, rooms, dtypes, may_fail=is_open)
    songs, rows = _at_once(needs, found, rooms[place], wanted, wishes.batch_size)
    if wishes.offload and place.type == "cpu":
        raise ValueError(
            "--offload moves priors between a GPU and the CPU's memory, but the device is cpu; leave it out"
        )
    keep_loaded, offload = _while_they_wait(needs[found.dtype], place, rooms[place], songs, wanted)
    if wishes.offload is not None:
        keep_loaded, offload = keep_loaded and not wishes.offload, wishes.offload
    first = sized_like(stored)
    dtype = found.dtype if is_open and found.dtype != first else request.dtype
    needed = max(level.bytes_for(songs) for level in needs[found.dtype])
    words = [
        _dtype_in_words(dtype, said, stored, fit(needs, 0, (first,)).gigabytes),
        "1 song" if wanted == 1 else f"{songs} of {wanted} songs side by side",
        f"about {needed / 1e9:.1f} GB{' (more than is free)' * (needed > rooms[place])}",
        *[f"at most {rows} windows at once"] * request.parallel_windows,
        *["priors stay loaded"] * keep_loaded,
        *["priors wait in the CPU's memory"] * offload,
        steps_in_words(place, said or stored, wishes.stepping),
    ]
    line = (
        f"{_place_in_words(place, rooms)}: {', '.join(words)}; --device, --dtype, --batch-size, --offload and "
        f"--stepping override"
    )
    return RunChoice(str(place), dtype, songs, rows, offload, keep_loaded, line)


def the_device(name: str) -> torch.device:
    """The device of a name; a bad one is refused."""
    return _places(name)[0]


def room(device: torch.device) -> int:
    """Bytes that this process may take: of a CPU's memory a share, where several processes make songs."""
    said = os.environ.get("LOCAL_WORLD_SIZE", "")
    share = int(said) if device.type == "cpu" and said.isdecimal() else 1
    return free_bytes(device) // max(share, 1)


def steps_in_words(place: torch.device, dtype: str, stepping: str) -> str:
    """How codes will be found, and why not natively."""
    if stepping != "auto":
        return f"{stepping} steps as asked"
    if place.type == "cuda":
        return "captured steps"
    if place.type != "cpu" or dtype == "float16":
        return "plain steps"
    return "native steps" if compile_native() is not None else "plain steps (no C compiler was found)"


def _places(name: str) -> list[torch.device]:
    """Where a run may happen, the best first."""
    if name == "auto":
        if not torch.cuda.is_available():
            return [torch.device("cpu")]
        number = int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count()
        return [torch.device("cuda", number), torch.device("cpu")]
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"--device {name} can not be used here ({str(error).splitlines()[0]}); try cpu") from None
    require(device.type != "meta", "--device meta holds no numbers, so it can make no song; try cpu")
    is_missing = device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()
    require(not is_missing, f"--device {name} is not there: this machine has {torch.cuda.device_count()}; try cpu")
    return [device]


def _smaller(stored: str) -> tuple[str, ...]:
    """The dtypes that may be chosen, what the files hold first; int8 only where it can be made or read."""
    smaller = DTYPES[DTYPES.index(sized_like(stored)) :]
    return smaller if stored == "int8" or _has_torchao() else tuple(d for d in smaller if d != "int8")


def _has_torchao() -> bool:
    return importlib.util.find_spec("torchao") is not None


def _first_fit(
    needs: Needs, rooms: dict[torch.device, int], dtypes: Sequence[str], may_fail: bool
) -> tuple[torch.device, Fit]:
    """The first place in which a song fits, and in which dtype; the first place if none and that `may_fail` not."""
    fits = {place: fit(needs, free, dtypes) for place, free in rooms.items()}
    for place, found in fits.items():
        if found.songs:
            return place, found
    place, found = next(iter(fits.items()))
    if may_fail:
        free = " and ".join(f"{place} has {free / 1e9:.1f} GB free" for place, free in rooms.items())
        small, cure = fit(needs, max(rooms.values()), ("int8",)), ""
        if small.songs and "int8" not in dtypes:
            cure = f'; int8 would fit with {small.gigabytes:.1f} GB: pip install "jukebox_hf[quant]"'
        raise ValueError(
            f"{free}, but one song needs about {found.gigabytes:.1f} GB even in {found.dtype}; free some, or use "
            f"another --device{cure}"
        )
    return place, found


def _at_once(needs: Needs, found: Fit, free: int, wanted: int, said: int | None) -> tuple[int, int]:
    """Songs written side by side, and rows at most."""
    if said is not None:
        return min(said, wanted), said
    most = max(fit(needs, free - free // _LEFT_FREE, (found.dtype,)).songs, 1)
    return -(-wanted // -(-wanted // most)), most


def _while_they_wait(
    levels: Sequence[LevelMemory], place: torch.device, free: int, songs: int, wanted: int
) -> tuple[bool, bool]:
    """Where priors wait while other levels are written: (on the device, in the CPU's memory); else they are read again.

    Only worth it where more songs come after these.
    """
    if songs >= wanted:
        return False, False
    weights = sum(level.weights for level in levels)
    largest = max(level.bytes_for(songs) - level.weights for level in levels)
    if weights + largest <= free - free // _LEFT_FREE:
        return True, False
    return False, place.type != "cpu" and weights <= room(torch.device("cpu"))


def _place_in_words(place: torch.device, rooms: dict[torch.device, int]) -> str:
    words = f"{place} with {rooms[place] / 1e9:.1f} GB free"
    full = [other for other in rooms if other != place and list(rooms).index(other) < list(rooms).index(place)]
    return words + "".join(f" ({other} has {rooms[other] / 1e9:.1f}, too little)" for other in full)


def _dtype_in_words(dtype: str | None, said: str | None, stored: str, needed: float) -> str:
    if said is not None:
        return f"priors in {said} as asked"
    if dtype in (None, "keep"):
        return f"priors in {stored} as stored"
    return f"priors in {dtype}, since {stored} needs about {needed:.1f} GB"
