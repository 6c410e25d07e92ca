"""docs/reference/text_and_labels.md tells the truth."""

import ast
import doctest
import re

from jukebox_hf.model.inputs.romanization import OVERRIDES, romanize

PAGE = "docs/reference/text_and_labels.md"


def test_every_example_of_the_page_runs_as_printed(root, tokenizer):
    page = doctest.DocTestParser().get_doctest(
        (root / PAGE).read_text(encoding="utf-8"), {"tokenizer": tokenizer}, "page", PAGE, 0
    )
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    failed, attempted = runner.run(page, out=print)
    assert attempted == 24
    assert failed == 0


def test_the_page_lists_every_override_with_its_spelling(root):
    rows = re.findall(
        r"^\| U\+([0-9A-F]+) \|[^|]*\|[^|]*\| `([^|]*)` \|", (root / PAGE).read_text("utf-8"), re.MULTILINE
    )
    assert {chr(int(code, 16)): ast.literal_eval(spelling) for code, spelling in rows} == OVERRIDES
    for code, spelling in rows:
        assert romanize(chr(int(code, 16))).text == ast.literal_eval(spelling)
