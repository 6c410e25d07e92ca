"""No recorded tensor is left out: what the marks of the parity tests claim covers every file.

That the claims are true, each test's `recording` sees to (conftest.py).
"""

from collections import defaultdict
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from safetensors import safe_open

REFERENCE = Path(__file__).parents[1] / "reference" / "openai"
FOLDERS = {
    "vqvae": 15,
    "priors": 18,
    "attention": 21,
    "fp16": 1,
    "chain": 14,
    "alignment": 4,
    "training": 1,
}  # with the number of files in each


def recorded_files(folder):
    return sorted((REFERENCE / folder).rglob("*.safetensors"))


def matches(name, patterns):
    return any(fnmatchcase(name, pattern) for pattern in patterns)


@pytest.mark.parametrize(("folder", "count"), FOLDERS.items())
def test_every_recorded_tensor_is_asserted_or_given(folder, count, request, all_claims):
    if any("::" in argument or argument.endswith(".py") for argument in request.config.args):
        pytest.skip("only some files were chosen; run the whole of tests/parity")
    claims = defaultdict(list)
    for claim in all_claims:
        claims[claim.stem] += claim.compared + claim.given
    files = recorded_files(folder)
    assert len(files) == count
    for file in files:
        stem = file.relative_to(REFERENCE).with_suffix("").as_posix()
        left = {name for name in safe_open(file, "pt").keys() if not matches(name, claims[stem])}  # noqa: SIM118
        assert not left, f"no parity test asserts {sorted(left)} of {stem}"
