"""Words written by a model: by the prior that sings, or by any causal language model; and how likely words are.

Flows in: what was asked for, an open model. Flows out: text in the characters that the model can sing, and bits per
character, as it is and shuffled.
"""

import math
import random
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from jukebox_hf.app.transcoding import check_no_song
from jukebox_hf.model.checks.file_kinds import read_head
from jukebox_hf.model.checks.repository_names import opened_by_transformers
from jukebox_hf.model.checks.text_input import check_way
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.files.atomic_files import write_whole
from jukebox_hf.model.files.loading_arguments import without_bars

_SHUFFLES = 4  # whose mean is told


@dataclass(frozen=True)
class Wish:
    """What words are asked for.

    Attributes:
        artist, genre: names.
        begin: words to go on from.
        characters: how many to write at most; None: as many as a window of the prior holds.
        temperature, top_k, top_p: how boldly to draw.
        seeds: one for each text.
    """

    artist: str = "unknown"
    genre: str = "unknown"
    begin: str = ""
    characters: int | None = None
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seeds: tuple[int, ...] = (0,)

    def words(self, lyrics: str, seed: int = 0) -> dict[str, Any]:
        """A song of these words for `JukeboxProcessor`."""
        return {"artist": self.artist, "genre": self.genre, "lyrics": lyrics, "seed": seed}


def words_of_model(model: Any, processor: Any, wish: Wish) -> list[str]:
    """Texts that the prior writes, one for each seed.

    Raises:
        ValueError: a model that never learnt to, in one sentence.
    """
    how = {name: getattr(wish, name) for name in ("characters", "temperature", "top_k", "top_p")}
    written = model.write_lyrics(processor([wish.words(wish.begin, seed) for seed in wish.seeds]), **how)
    return [processor.tokenizer.decode_lyrics(one.ids, processor.lyric_level).strip() for one in written]


def words_of_writer(writer: str, processor: Any, wish: Wish, theme: str | None, length: int) -> list[str]:
    """Texts that a causal language model of transformers writes, in the characters that the Jukebox knows.

    Args:
        writer: its name on the Hub, or its folder.
        theme: what they are to be about.
        length: how many characters where nobody says it.

    Raises:
        ValueError: no such model, or one that has no room to write, in one sentence.
    """
    import torch

    model, tokenizer = _open_writer(writer)
    prompt, is_chat = _prompt(tokenizer, wish, theme)
    inputs = tokenizer(prompt, return_tensors="pt", add_special_tokens=not is_chat)
    ids, room = inputs["input_ids"], getattr(model.config, "max_position_embeddings", None)
    characters = wish.characters or length
    left = characters if room is None else min(characters, room - ids.shape[1])  # a token is a character or more
    require(
        left > 0,
        f"--writer {writer} reads {room} tokens, and theme and beginning are {ids.shape[1]}; shorten these, or name "
        f"another",
    )
    texts = []
    for seed in wish.seeds:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            out = model.generate(
                ids,
                attention_mask=inputs.get("attention_mask"),
                max_new_tokens=left,
                do_sample=wish.temperature > 0,
                pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id or 0,
                **({} if wish.temperature == 0 else _boldness(wish)),
            )
        text = wish.begin + tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
        texts.append(_in_characters(text, len(wish.begin) + characters, processor))
    require(
        all(text.strip() for text in texts),
        f"--writer {writer} wrote nothing that the model can sing; give another --seed, --theme or writer",
    )
    return texts


def likelihoods(model: Any, processor: Any, wish: Wish, text: str) -> dict[str, float]:
    """Bits per character that the prior needs for words as they are, and for the same shuffled.

    Raises:
        ValueError: a model that never learnt to write, or words of which it knows no character.
    """
    rng, shuffled = random.Random(0), {}
    parts = {"words": re.findall(r"\S+", text), "lines": text.split("\n"), "characters": list(text)}
    for name, pieces in parts.items():
        if len({piece for piece in pieces if piece}) > 1:  # the nothing behind a last line's end is no line
            shuffled[name] = [_shuffled(text, name, pieces, rng) for _ in range(_SHUFFLES)]
    texts = [text, *(one for others in shuffled.values() for one in others)]
    bits = []
    for one in tqdm(texts, desc="reading", unit=" texts", delay=2, leave=False, disable=not sys.stderr.isatty()):
        (found,) = model.lyric_log_likelihood(processor([wish.words(one)]))
        bits.append(-float(found.double().mean()) / math.log(2))
    told = {"as_written": bits[0]}
    for index, name in enumerate(shuffled):
        own = bits[1 + index * _SHUFFLES : 1 + (index + 1) * _SHUFFLES]
        told[f"{name}_shuffled"] = sum(own) / len(own)
    return {name: round(value, 4) for name, value in told.items()}


def bits_in_words(found: Mapping[str, float]) -> str:
    """Bits per character as a line for a person."""
    others = ", ".join(
        f"{value:.2f} with its {name.removesuffix('_shuffled')} shuffled"
        for name, value in found.items()
        if name != "as_written"
    )
    return f"{found['as_written']:.2f} bits per character" + (f"; {others}" if others else "")


def save_texts(texts: Sequence[str], out: Path, seeds: Sequence[int], force: bool) -> list[Path]:
    """Write one text into a file, or several into a folder, as lyrics-SEED.txt.

    Raises:
        ValueError: something is there already.
    """
    paths = lyric_paths(out, seeds, force)
    for path, text in zip(paths, texts, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, (text + "\n").encode())
    return paths


def lyric_paths(out: Path, seeds: Sequence[int], force: bool) -> list[Path]:
    """Where texts go; errors as in `save_texts`."""
    paths = [out] if len(seeds) == 1 else [out / f"lyrics-{seed}.txt" for seed in seeds]
    check_way(f"--out {out}", paths[0].parent)
    for path in paths:
        require(not path.is_dir(), f"{path} is a folder; name a file for the words")
        check_no_song(path)
        require(
            not path.is_file() or b"\0" not in read_head(path),
            f"{path} is there and is no text; --force does not replace it: name another file",
        )
        require(force or not path.exists(), f"{path} is there already; name another --out, or pass --force")
    return paths


def _shuffled(text: str, name: str, pieces: list[str], rng: random.Random) -> str:
    """The same text with its words, lines or characters in another order; blanks stay where they are, between words."""
    own = list(pieces)
    while own == pieces:
        rng.shuffle(own)
    if name != "words":
        return ("\n" if name == "lines" else "").join(own)
    words = iter(own)
    return re.sub(r"\S+", lambda _: next(words), text)


def _open_writer(writer: str) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    cure = "name its folder, or its name on the Hub, such as gpt2"
    with without_bars(), opened_by_transformers(writer, "a causal language model", cure, "--writer"):
        tokenizer = AutoTokenizer.from_pretrained(writer, trust_remote_code=False)
        return AutoModelForCausalLM.from_pretrained(writer, trust_remote_code=False).eval(), tokenizer


def _prompt(tokenizer: Any, wish: Wish, theme: str | None) -> tuple[str, bool]:
    """What the writer goes on from, and whether it is a chat's."""
    song = " ".join(
        [
            "a song" if wish.genre == "unknown" else f"a {wish.genre} song",
            *([] if wish.artist == "unknown" else [f"in the manner of {wish.artist}"]),
            *([] if theme is None else [f"about {theme}"]),
        ]
    )
    if getattr(tokenizer, "chat_template", None) is None:
        return f"Lyrics of {song}:\n\n{wish.begin}", False
    asked = f"Write the lyrics of {song}. Answer with the words that are sung alone, a line for each line."
    chat = [{"role": "user", "content": asked}]
    return tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) + wish.begin, True


def _boldness(wish: Wish) -> dict[str, Any]:
    return {"temperature": wish.temperature, "top_k": wish.top_k, "top_p": wish.top_p}


def _in_characters(text: str, most: int, processor: Any) -> str:
    """A text in the characters of the model, cut to so many at the end of a word."""
    known = processor.tokenizer.encode_lyrics(text, processor.lyric_level).cleaned
    if len(known) > most and not known[most].isspace():
        whole = known[:most].rstrip()
        known = whole if len(whole) < most else (re.sub(r"\S+$", "", whole) or whole)
    return known[:most].strip()
