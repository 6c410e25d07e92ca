"""Verses of common English words and names, in sentences that a listener can guess along with.

Flows in: draws. Flows out: text of a given length. Words that sound like another common word (sea, see) are left out,
so that what an ASR model writes can be compared with what was sung.
"""

import numpy as np

from jukebox_hf.data.synthesis.lyrics import fitted

_VOCABULARY = """
name anna jack mary tom lucy sam peter emma ben kate david sarah adam helen max linda oliver ruby simon nora
thing river mountain window garden summer winter morning shadow silver ocean moon fire rain home heart hand dream
thing train city sky bird dance water stone letter story music radio engine paper castle candle mirror table kitchen
thing picture money coffee apple orange butter bottle basket button jacket hammer ladder doctor teacher farmer sister
thing mother father brother baby lion tiger monkey rabbit chicken spider turtle horse dog cat cow duck fish forest
place garden river mountain city forest castle kitchen harbor valley village market island station ocean beach bridge
action sing run fall follow carry hold find remember forget open wander whisper call leave begin sleep dance laugh
action walk travel listen jump swim smile wonder visit answer
quality golden broken silent little lonely easy heavy open empty bitter wild happy simple secret gentle cold warm young
quality old big small quiet funny clever lucky hungry sleepy pretty dirty yellow purple orange black green perfect
adverb again together tomorrow tonight forever slowly quickly softly always today
number seven twenty eleven five six nine ten hundred
"""
_WORDS_BY_KIND: dict[str, list[str]] = {}
for _kind, *_words in map(str.split, _VOCABULARY.strip().splitlines()):
    _WORDS_BY_KIND.setdefault(_kind, []).extend(_words)
_SENTENCES = tuple(
    line.split()
    for line in """
i will action in the place
name and name action in the place
you and i action together
the quality thing is quality
we action all day long
my thing is in the place
come with me and action
tell me why you action
there was a quality thing in the place
do you remember the thing
name went down to the place
every thing has a thing
we were quality and quality
this is my quality thing
i can hold the thing
when the thing is over
never action without me
name likes the quality thing
she gave me number quality thing
he lives on the quality place
i want to action adverb
let us action adverb
look at the thing and the thing
where is the quality thing
they action under the moon
the thing and the thing are quality
take the thing back home
wait for me by the place
if you action i will action
please give me the thing
name is my quality thing
the place is quality adverb
no one can action like name
how many thing did you find
""".strip().splitlines()
)


def vocabulary() -> tuple[str, ...]:
    """All words that verses are made of, in order."""
    fixed = {word for line in _SENTENCES for word in line if word not in _WORDS_BY_KIND}
    return tuple(sorted(fixed.union(*_WORDS_BY_KIND.values())))


def write_verse(random: np.random.Generator, num_characters: int) -> str:
    """Write sentences, a line each, that fill `num_characters`; blanks after the last whole word."""
    text = " " * int(random.integers(0, 5))  # a rest before the first word, not always the same
    while True:
        words = _sentence(random)
        longer = f"{text}\n{words}" if text.strip() else text + words
        if len(longer) > num_characters:
            break
        text = longer
    joint = "\n" if text.strip() else ""
    for word in words.split():
        if len(text) + len(joint) + len(word) > num_characters:
            break
        text, joint = text + joint + word, " "
    return fitted(text, num_characters)


def _sentence(random: np.random.Generator) -> str:
    line = _SENTENCES[random.integers(len(_SENTENCES))]
    kinds = [_WORDS_BY_KIND.get(word, [word]) for word in line]
    return " ".join(words[random.integers(len(words))] if len(words) > 1 else words[0] for words in kinds)
