"""What begins with an underscore is read in its own file alone; of libraries, only what has no public name."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = [path for folder in ("src", "conversion") for path in sorted((ROOT / folder).rglob("*.py"))]
OF_LIBRARIES = {
    "_replace": "a named tuple's",
    "_exit": "os",
    "_getframe": "sys",
    "_calculate_fan_in_and_fan_out": "torch.nn.init",
    "_compiled_call_impl": "torch.nn.Module",
    "_parameters": "torch.nn.Module",
    "_modules": "torch.nn.Module",
    "_forward_hooks": "torch.nn.Module",
    "_forward_pre_hooks": "torch.nn.Module",
    "_backward_hooks": "torch.nn.Module",
    "_backward_pre_hooks": "torch.nn.Module",
    "_global_backward_hooks": "torch.nn.modules.module",
    "_global_backward_pre_hooks": "torch.nn.modules.module",
    "_global_forward_hooks": "torch.nn.modules.module",
    "_global_forward_pre_hooks": "torch.nn.modules.module",
    "_foreach_add_": "torch",
    "_foreach_mul_": "torch",
    "_attn_implementation": "transformers' configurations",
    "_tied_weights_keys": "transformers' models",
}


def _reads_of_others(tree):
    """Private attributes that a file reads and does not define itself."""
    nodes = list(ast.walk(tree))
    own = {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    own |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    read = [node for node in nodes if isinstance(node, ast.Attribute) and node.attr.startswith("_")]
    own |= {node.attr for node in read if ast.unparse(node.value) in ("self", "cls", "super()")}
    names = {node.attr for node in read if not (node.attr.startswith("__") and node.attr.endswith("__"))}
    return names - own


def test_no_file_reads_what_is_private_in_another():
    found = {str(path.relative_to(ROOT)): _reads_of_others(ast.parse(path.read_text("utf-8"))) for path in FILES}
    wrong = {path: sorted(names - set(OF_LIBRARIES)) for path, names in found.items() if names - set(OF_LIBRARIES)}
    assert not wrong


def test_a_read_of_something_private_is_found():
    assert _reads_of_others(ast.parse("prior._head(hidden)")) == {"_head"}
    assert (
        _reads_of_others(ast.parse("class A:\n    _a = 1\n    def b(self, other): return other._a + self._c")) == set()
    )
