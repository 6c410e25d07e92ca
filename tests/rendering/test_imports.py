"""Rendering is text and numpy."""

import ast


def test_no_file_here_imports_torch_or_a_network(root):
    allowed = {"jukebox_hf.rendering", "numpy", "matplotlib"}
    allowed |= {"jukebox_hf.model.alignment.alignment_times", "jukebox_hf.model.checks.text_input"}
    files = sorted((root / "src/jukebox_hf/rendering").glob("*.py"))
    below = ("alignment/alignment_times", "inputs/lyric_structure", "checks/text_input")
    files += [root / f"src/jukebox_hf/model/{name}.py" for name in below]
    assert len(files) > 8
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and node.level == 0 else []
            for name in names:
                assert not name.startswith(("torch", "transformers")), file
                assert not name.startswith("jukebox_hf") or name.startswith(tuple(allowed)), file
