"""The forms in which recordings arrive: dictionaries, tuples with a rate, decoders, bytes, or plain samples.

Flows in: what `datasets`, gradio, soundfile or transformers' pipelines give. Flows out: samples with their rate, or a
file. What the numbers mean is checked elsewhere (`audio_input`).
"""

import re
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from ..checks.text_input import MAX_NAME, MAX_PATH, shown
from ..checks.validation import is_integer, is_number, plain, require

_FORMS = (
    "a path, an open file, an audio file's bytes, samples, (samples, rate), a dictionary with array and sampling_rate, "
    "or with path or bytes, or a decoder of datasets"
)
_BASE64 = re.compile(r"[A-Za-z0-9+/_\s-]+={0,2}\s*")
_ARRAYS, _RATES = ("array", "raw", "audio"), ("sampling_rate", "sample_rate")


class Recording(NamedTuple):
    """One recording, unpacked.

    Attributes:
        source: a path, the bytes of a file, or samples as an array.
        rate: of samples, where the container gives it.
    """

    source: str | PathLike[str] | bytes | np.ndarray
    rate: int | None

    @property
    def is_file(self) -> bool:
        """Whether it is a file, which says its own rate."""
        return not isinstance(self.source, np.ndarray)


def unpack(audio: Any, name: str = "audio") -> Recording:
    """Unpack one recording, of as many channels as a file may have, but of samples no more than two.

    Raises:
        ValueError: what is no recording, or may be several, in one sentence.
    """
    recording = unpack_songs(audio, name)
    if not hasattr(audio, "get_all_samples") and not recording.is_file:  # a decoder is a file too
        shape = recording.source.shape
        require(
            len(shape) < 2 or min(shape) <= 2,
            f"{name} has shape {shape}, which may be a batch or many channels, whose mean would be one recording; give "
            f"a list of recordings, or mix it down",
        )
    return recording


def unpack_songs(audio: Any, name: str = "audio") -> Recording:
    """Unpack one recording, or samples whose rows are songs; errors as of `unpack`."""
    if isinstance(audio, (str, PathLike)):
        _check_file_name(str(audio), name)
        return Recording(audio, None)
    if isinstance(audio, (bytes, bytearray)):
        return Recording(bytes(audio), None)
    if hasattr(audio, "read"):  # an open file, or a BytesIO
        return Recording(_content(audio, name), None)
    if isinstance(audio, Mapping):
        return _of_mapping(audio, name)
    if hasattr(audio, "get_all_samples"):  # torchcodec's AudioDecoder, in which datasets gives audio
        samples = audio.get_all_samples()
        return Recording(_array(samples.data, name), read_rate(samples.sample_rate, name))
    if _is_with_rate(audio):
        one, other = plain(audio[0]), plain(audio[1])
        samples, rate = (other, one) if is_number(one) else (one, other)
        return Recording(_array(samples, name), read_rate(rate, name))
    return Recording(_array(audio, name), None)


def as_list(audio: Any) -> list[Any]:
    """Recordings one by one: of a list, each; of anything that is one recording, itself."""
    is_one = isinstance(audio, (str, PathLike, bytes, bytearray, Mapping, np.ndarray, Tensor)) or any(
        hasattr(audio, way) for way in ("get_all_samples", "read")
    )
    if is_one or not isinstance(audio, Sequence) or _is_with_rate(audio):
        is_column = not is_one and not isinstance(audio, Sequence) and hasattr(audio, "__iter__")
        listed = list(audio) if is_column else [audio]
        is_samples = is_column and len(listed) > 0 and is_number(plain(listed[0]))  # such as a Series of pandas
        return [audio if hasattr(audio, "__array__") else listed] if is_samples else listed
    if len(audio) and is_number(plain(audio[0])):  # the samples themselves
        return [audio]
    return list(audio)


def one_each(audio: Any, count: int, name: str = "prompt") -> list[Any]:
    """The recordings of `count` songs: of a list, one for each; anything that is one recording is that of all.

    Raises:
        ValueError: a list of another length, or an array whose rows may be channels or recordings.
    """
    listed = as_list(audio)
    if len(listed) == 1 and listed[0] is audio:
        shape = tuple(getattr(audio, "shape", ()))
        require(
            len(shape) < 2 or count == 1 or shape[0] != count,
            f"{name} of shape {shape} may be the channels of one recording or a recording for each of {count} songs; "
            f"list the recordings, or give (samples, rate) if they are one for all",
        )
        return listed * count
    if count != 2 and len(listed) == 2 and _is_sound(listed[0]) and (listed[1] is None or type(listed[1]) is str):
        read_rate(listed[1], name)  # (samples, "44100")
    require(
        len(listed) == count,
        f"{name} lists {len(listed)} recordings for {count} song{'s' * (count != 1)}; give one for each song of a list "
        f"or one for all, whose channels are in one array",
    )
    return listed


def _check_file_name(path: str, name: str) -> None:
    """Refuse text that holds the file itself, and a path that none can be."""
    is_data = re.match("data:[^,]*,", path, re.I) is not None
    require(
        not is_data and not (len(path) > MAX_NAME and _BASE64.fullmatch(path)),
        f"{name} is {'a data URI' if is_data else 'base64 text'}, not a path ({shown(path)}); give the bytes, "
        f"base64.b64decode({'what stands behind its comma' if is_data else name})",
    )
    require(
        len(path) <= MAX_PATH,
        f"{name}={shown(path)} has {len(path):,} characters, but a path has at most {MAX_PATH}; name a file",
    )


def _content(file: Any, name: str) -> bytes:
    """What is left to read of an open file."""
    try:
        content = file.read()
    except (OSError, ValueError, TypeError) as error:  # closed, or written only
        raise ValueError(f"{name} is an open file that cannot be read ({error}); give its path") from None
    require(
        isinstance(content, (bytes, bytearray)),
        f"{name} is an open file that gives {type(content).__name__}, not bytes; open it with 'rb', or give its path",
    )
    require(len(content) > 0, f"{name} is an open file at its end; call its seek(0) first, or give its path")
    return bytes(content)


def _of_mapping(audio: Mapping[str, Any], name: str) -> Recording:
    said = {key: value for key, value in audio.items() if value is not None}
    rate = next((said[key] for key in _RATES if key in said), None)
    samples = next((said[key] for key in _ARRAYS if key in said), None)
    if samples is not None:
        return Recording(_array(samples, name), None if rate is None else read_rate(rate, name))
    if isinstance(said.get("bytes"), (bytes, bytearray)):
        return Recording(bytes(said["bytes"]), None)
    empty = [key for key in (*_ARRAYS, "bytes", "path") if key in audio and key not in said]
    require(
        not empty or "path" in said,
        f"{name} is a dictionary whose {' and '.join(empty)} {'is' if len(empty) == 1 else 'are'} None; give {_FORMS}",
    )
    require(
        isinstance(said.get("path"), (str, PathLike)),
        f"{name} is a dictionary with {', '.join(map(str, audio)) or 'nothing'}; give {_FORMS}",
    )
    return Recording(said["path"], None)


def _is_sound(audio: Any) -> bool:
    """Whether these are samples."""
    return isinstance(audio, (np.ndarray, Tensor)) or (isinstance(audio, list) and bool(audio) and is_number(audio[0]))


def _is_with_rate(audio: Any) -> bool:
    """Whether these are (samples, rate), or (rate, samples) as gradio gives them; two plain numbers are samples."""
    if not isinstance(audio, (tuple, list)) or len(audio) != 2:
        return False
    kinds = [is_number(plain(each)) or isinstance(plain(each), bool) for each in audio]
    return kinds.count(True) == 1 and not any(isinstance(each, (str, bytes, Mapping)) for each in audio)


def read_rate(rate: Any, name: str) -> int:
    """Samples per second of a recording; a whole number in any type.

    Raises:
        ValueError: what is none.
    """
    rate = plain(rate)
    whole = int(rate) if isinstance(rate, float) and rate.is_integer() else rate
    require(is_integer(whole), f"{name} has the sampling_rate {rate!r}, which must be a whole number")
    return whole


def _array(samples: Any, name: str) -> np.ndarray:
    if isinstance(samples, Tensor):
        try:
            samples = samples.detach().cpu().resolve_conj().resolve_neg()
            samples = (samples.float() if samples.is_floating_point() else samples).numpy()
        except (RuntimeError, TypeError):  # sparse, nested, quantized, on the meta device: each has its own
            kind = f"{type(samples).__name__} of {samples.dtype}, {samples.layout}, on {samples.device}"
            cure = "give a plain tensor that holds them, such as .to_dense() of a sparse one"
            raise ValueError(f"{name} is a {kind}, out of which no samples can be read; {cure}") from None
    require(
        not (isinstance(samples, np.ma.MaskedArray) and np.ma.is_masked(samples)),
        f"{name} is a masked array, whose masked samples are none; say what they are with .filled(0)",
    )
    require(
        isinstance(samples, (np.ndarray, list, tuple)) or hasattr(samples, "__array__"),
        f"{name}={type(samples).__name__} is no recording; give {_FORMS}",
    )
    try:
        array = np.asarray(samples)
    except ValueError:
        array = np.empty(0, object)
    require(array.dtype != object, f"{name} holds rows of different lengths or no numbers; give {_FORMS}")
    return array
