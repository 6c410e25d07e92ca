"""New tensors say where they lie and of what they are: defaults are the process's, and others set them."""

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "jukebox_hf"
_NEED_DTYPE = {"empty", "zeros", "ones", "full", "rand", "randn", "linspace", "logspace", "eye", "hann_window"}
_NEED_DEVICE = _NEED_DTYPE | {"tensor", "arange", "randint", "randperm", "scalar_tensor"}


def _calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """Calls of torch's factories, but for buffers: a module is where and what its maker wants."""
    buffers = [call for call in ast.walk(tree) if isinstance(call, ast.Call) and _name(call) == "register_buffer"]
    inside = {id(node) for call in buffers for node in ast.walk(call)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or id(node) in inside or not isinstance(node.func, ast.Attribute):
            continue
        if isinstance(node.func.value, ast.Name) and node.func.value.id == "torch":
            yield node, node.func.attr


def _name(call: ast.Call) -> str:
    return getattr(call.func, "attr", "")


def _silent(text: str) -> list[str]:
    found = []
    for call, name in _calls(ast.parse(text)):
        said = {keyword.arg for keyword in call.keywords}
        wanted = {"device"} if name in _NEED_DEVICE else set()
        wanted |= {"dtype"} if name in _NEED_DTYPE else set()
        found += [f"line {call.lineno}: torch.{name} without {what}" for what in sorted(wanted - said)]
    return found


def test_every_new_tensor_names_its_device_and_its_dtype():
    found = {file.name: _silent(file.read_text(encoding="utf-8")) for file in SOURCE.rglob("*.py")}
    assert len(found) > 100
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_the_check_finds_one_that_does_not():
    assert _silent(
        "torch.empty(3)\nself.register_buffer('codes', torch.zeros(2))\ntorch.zeros(3, dtype=d, device=e)"
    ) == [
        "line 1: torch.empty without device",
        "line 1: torch.empty without dtype",
    ]
