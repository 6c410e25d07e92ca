"""Who may import whom. import-linter checks the floors in .ci/run; here is what it can not see."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODEL_FILES = sorted((ROOT / "src/jukebox_hf/model").glob("*.py"))
CONVERSION_FILES = sorted((ROOT / "conversion").glob("*.py"))
TRAVELS = {"torch", "numpy", "transformers", "huggingface_hub", "safetensors", "tokenizers"}


def _imports(tree, guarded=False):
    """Every import of a file as (module, level of dots, stands in a try with an except)."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0, guarded) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", node.level, guarded
        else:
            yield from _imports(node, guarded or (isinstance(node, ast.Try) and bool(node.handlers)))


def _parse(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def test_there_are_files_to_check():
    assert len(MODEL_FILES) > 15
    assert len(CONVERSION_FILES) > 3


@pytest.mark.parametrize("path", MODEL_FILES, ids=lambda path: path.stem)
def test_model_imports_only_siblings_and_what_travels_with_the_weights(path):
    siblings = {file.stem for file in MODEL_FILES}
    for module, dots, is_guarded in _imports(_parse(path)):
        top = module.split(".")[0]
        if dots:
            assert dots == 1, f"{path.name} reaches above model/"
            assert module in siblings, f"{path.name} imports .{module}, which is no file beside it"
        elif not is_guarded:
            assert top in TRAVELS or top in sys.stdlib_module_names, f"{path.name} imports {module}"
        assert top not in ("jukebox_hf", "conversion")


@pytest.mark.parametrize("path", MODEL_FILES, ids=lambda path: path.stem)
def test_model_imports_names_and_never_modules_of_its_own(path):
    """`from .name import Name`: the Hub's remote code understands nothing else."""
    for node in ast.walk(_parse(path)):
        if isinstance(node, ast.ImportFrom) and node.level:
            assert node.module, f"{path.name}:{node.lineno} says `from . import`"
            assert [alias.name for alias in node.names] != ["*"]


@pytest.mark.parametrize("path", CONVERSION_FILES, ids=lambda path: path.stem)
def test_conversion_stands_above_model_and_imports_nothing_else_of_the_package(path):
    for module, dots, _ in _imports(_parse(path)):
        top = module.split(".")[0]
        assert dots <= 1
        assert top != "conversion", f"{path.name} must import jukebox_hf.conversion, its name in the wheel"
        if top == "jukebox_hf":
            assert module.split(".")[1] in ("model", "conversion"), f"{path.name} imports {module}"


def test_the_package_itself_never_imports_conversion_at_import():
    for name in ("__init__.py", "registration.py"):
        modules = [module for module, _, _ in _imports(_parse(ROOT / "src/jukebox_hf" / name))]
        assert not any("conversion" in module for module in modules)


def test_pickles_are_never_trusted_and_no_text_is_run():
    checked = 0
    for path in [*MODEL_FILES, *CONVERSION_FILES]:
        for node in ast.walk(_parse(path)):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            assert name not in ("eval", "exec", "pickle.load", "pickle.loads", "os.system"), (
                f"{path.name}:{node.lineno}"
            )
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert options.get("shell") != "True", f"{path.name}:{node.lineno}"
            if name == "torch.load":
                assert options.get("weights_only") == "True", f"{path.name}:{node.lineno}"
                checked += 1
    assert checked > 0
