"""The names a user meets: they agree everywhere, exist, and say what they are."""

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import jukebox_hf
import jukebox_hf.conversion
import jukebox_hf.features
import jukebox_hf.model

PACKAGE = Path(jukebox_hf.__file__).parent
MODULES = sorted(
    module.name
    for package in (jukebox_hf.model, jukebox_hf.features, jukebox_hf.conversion)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
)


def _stub():
    return ast.parse((PACKAGE / "__init__.pyi").read_text())


def test_lazy_names_stub_and_all_agree():
    stubbed = {alias.asname for node in _stub().body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert stubbed | {"__version__"} == set(jukebox_hf.__all__)
    homes = {*jukebox_hf._HOMES, *jukebox_hf._HOMES_ABOVE_MODEL}
    assert homes | {"__version__", "register"} == set(jukebox_hf.__all__)
    assert len(jukebox_hf.__all__) == len(set(jukebox_hf.__all__))
    assert set(jukebox_hf.__all__) <= set(dir(jukebox_hf))


def test_the_stub_names_the_module_a_name_really_lives_in():
    homes = {
        alias.asname: node.module.removeprefix("model.")
        for node in _stub().body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert {name: home for name, home in homes.items() if name != "register"} == {
        **jukebox_hf._HOMES,
        **jukebox_hf._HOMES_ABOVE_MODEL,
    }


@pytest.mark.parametrize("name", jukebox_hf.__all__)
def test_every_public_name_exists(name):
    value = getattr(jukebox_hf, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__name__ == name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'jukebox_hf' has no attribute 'JukeboxOrchestra'"):
        _ = jukebox_hf.JukeboxOrchestra


def test_types_are_shipped():
    assert (PACKAGE / "py.typed").is_file()


@pytest.mark.parametrize("name", MODULES)
def test_every_public_function_and_class_has_a_docstring(name):
    module = importlib.import_module(name)
    assert module.__doc__, name
    for thing_name, thing in vars(module).items():
        is_ours = getattr(thing, "__module__", None) == name and not thing_name.startswith("_")
        if is_ours and (inspect.isclass(thing) or inspect.isfunction(thing)):
            first = (thing.__doc__ or "").strip().split("\n\n")[0]
            assert first, f"{name}.{thing_name} says nothing about itself"
            assert not first.startswith(f"{thing_name}("), f"{name}.{thing_name} has only the docstring of a dataclass"
