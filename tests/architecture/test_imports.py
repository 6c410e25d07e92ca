"""Who may import whom. import-linter checks the floors in .ci/run; here is what it cannot see."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "src/jukebox_hf/model"
MODEL_FILES = sorted(MODEL.rglob("*.py"))
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


def _in_model(path):
    return str(path.relative_to(MODEL).with_suffix(""))


def _parse(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def test_there_are_files_to_check():
    assert len(MODEL_FILES) > 15
    assert len(CONVERSION_FILES) > 3


@pytest.mark.parametrize("path", MODEL_FILES, ids=_in_model)
def test_model_imports_only_its_own_files_and_what_travels_with_the_weights(path):
    for module, dots, is_guarded in _imports(_parse(path)):
        top = module.split(".")[0]
        if dots:
            file = path.parents[dots - 1].joinpath(*module.split(".")).with_suffix(".py")
            assert file.is_relative_to(MODEL), f"{path.name} reaches above model/"
            assert file.is_file(), f"{path.name} imports {'.' * dots}{module}, which is no file"
        elif not is_guarded:
            assert top in TRAVELS or top in sys.stdlib_module_names, f"{path.name} imports {module}"
        assert top not in ("jukebox_hf", "conversion")


def test_no_two_files_of_model_have_one_name():
    """Where they travel with the weights they all lie in one folder (`remote_code.flattened`)."""
    stems = [path.stem for path in MODEL_FILES if path.stem != "__init__"]
    assert sorted(stems) == sorted(set(stems))


@pytest.mark.parametrize("path", MODEL_FILES, ids=_in_model)
def test_model_imports_names_and_never_modules_of_its_own(path):
    """`from .name import Name`: nothing else can be made flat for the Hub's remote code."""
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
