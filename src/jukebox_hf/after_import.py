"""Do something once a module has been imported, without importing it.

Two tables of transformers in which we have an entry stand in modules that cost over a second to import, and that users
of a network alone never need. So we wait until somebody imports them (docs/explanation/decisions/011.md).
"""

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

Then = Callable[[ModuleType], None]


def when_imported(name: str, then: Then) -> None:
    """Call `then` with a module as soon as it is imported; now, if it is already."""
    if name in sys.modules:
        then(sys.modules[name])
    elif not any(isinstance(finder, _Waiting) and finder.waits_for(name, then) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Waiting(name, then))


def stop_waiting(name: str, then: Then) -> None:
    """Forget a `when_imported` that has not come true."""
    for finder in list(sys.meta_path):
        if isinstance(finder, _Waiting) and finder.waits_for(name, then):
            sys.meta_path.remove(finder)


class _Waiting(MetaPathFinder):
    """Sees one module being imported for the first time, finds it as everybody does, and steps aside."""

    def __init__(self, name: str, then: Then) -> None:
        self._name, self._then = name, then

    def waits_for(self, name: str, then: Then) -> bool:
        return (self._name, self._then) == (name, then)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def run_then(module: ModuleType) -> None:
            run(module)
            self._then(module)

        spec.loader.exec_module = run_then
        return spec
