"""docs/reference/generation.md tells the truth."""

import doctest
import re
import runpy

from jukebox_hf.model.inputs.processing_jukebox import SONG_WORDS
from jukebox_hf.model.songs.generation_arguments import KNOWN

PAGE = "docs/reference/generation.md"


def test_every_example_of_the_page_runs_as_printed(root, repository):
    page = doctest.DocTestParser().get_doctest(
        (root / PAGE).read_text(encoding="utf-8"), {"repository": str(repository)}, "page", PAGE, 0
    )
    told = []
    failed, attempted = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(page, out=told.append)
    assert attempted == 29
    assert failed == 0, "".join(told)


def test_the_table_of_cuts_is_what_the_code_says(root):
    written = runpy.run_path(str(root / "docs/reference/write_table_of_cuts.py"))
    assert written["PAGE"].read_text(encoding="utf-8") == written["page"](), "run `make pages`"


def test_the_page_lists_every_word_and_argument(root):
    rows = re.findall(r"^\| (`[^|]*) \|", (root / PAGE).read_text("utf-8"), re.MULTILINE)
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert set(SONG_WORDS) <= listed
    assert set(KNOWN) <= listed
    listeners = {"logits_processor", "stopping_criteria", "streamer"}
    direct = {"codes", "offload", "keep_loaded", "generation_config"} | listeners
    assert listed == {*SONG_WORDS, *KNOWN} | direct
