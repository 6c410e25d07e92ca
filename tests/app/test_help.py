"""What --help says is said in phrases, so that each line can be read without the others."""

import re

import pytest
import typer

from jukebox_hf.app import cli


def _commands(command, name=""):
    children = getattr(command, "commands", {})
    yield from [(name, command)] if not children else []
    for word, child in children.items():
        yield from _commands(child, f"{name} {word}".strip())


COMMANDS = dict(_commands(typer.main.get_command(cli.app)))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained_in_a_phrase(name):
    """A capital first, a full stop last, and a noun or a verb that says what the value is."""
    assert re.fullmatch(r"[A-Z].+\.", COMMANDS[name].help.splitlines()[0])
    for one in COMMANDS[name].params:
        if getattr(one, "hidden", False):
            continue
        assert re.match("[A-Z]", one.help), f"{one.name}: {one.help}"
        assert len(one.help.split()) >= 3, f"{one.name}: {one.help}"
        assert one.help.endswith("."), f"{one.name}: {one.help}"
        assert not re.match(r"(Of|How|Which|Who|Same|Where|What|The|A|An) ", one.help), f"{one.name}: {one.help}"
