"""Make a release: version, heading of the changelog, wheel and sdist, and their checks.

    python tools/release.py 0.2.0 --dry-run    in a copy: nothing here changes; --dist FOLDER keeps what was built
    python tools/release.py 0.2.0              here; then commit, tag and upload by the lines that it prints

Needs `pip install -e ".[dev]"`. Without --no-isolation, build fetches setuptools as a user's pip would.
"""

import argparse
import datetime
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).resolve().parents[1]
VERSIONED = {  # file: the line that names the version
    "setup.py": r'^    version="(.+)",$',
    "src/jukebox_hf/__init__.py": r'^__version__ = "(.+)"$',
    "CITATION.cff": r"^version: (.+)$",
}
UNRELEASED = r"^## Unreleased(?: \((.+)\))?$"
SHIPPED = (
    "py.typed",
    "__init__.pyi",
    "model/sampling/cpp_step.c",
    "model/sampling/cpp_window.c",
    "tiny/config.json",
    "tiny/prior_0/model.safetensors",
)
PACKED = ("*.*", "LICENSE", "src/jukebox_hf/**/*", "conversion/**/*.py")  # what a build reads


class ReleaseError(ValueError):
    """Why there is no release, in one sentence."""


def check_version(text: str, root: Path) -> str:
    """The version in its normal form.

    Raises:
        ReleaseError: it is none, or older than the one that the files name.
    """
    now = _one(root / "setup.py", VERSIONED["setup.py"])[1]
    try:
        version = Version(text)
    except InvalidVersion:
        raise ReleaseError(f"version {text!r} is none; say one such as 0.2.0 or 0.2.0rc1") from None
    if version < Version(now):
        raise ReleaseError(f"version {version} is older than {now}, which setup.py names; say a later one")
    return str(version)


def write_version(version: str, root: Path, today: datetime.date) -> None:
    """Put the version into the files that name it, and close the changelog's `Unreleased` under it.

    Raises:
        ReleaseError: a file names it not once, or the changelog has nothing unreleased or the version already.
    """
    texts = {name: _replaced(root / name, line, version) for name, line in VERSIONED.items()}
    log = root / "CHANGELOG.md"
    if re.search(rf"^## {re.escape(version)}\b", log.read_text(encoding="utf-8"), re.M):
        raise ReleaseError(f"CHANGELOG.md has {version} already; say a later version")
    start, _ = _one(log, UNRELEASED)
    text = log.read_text(encoding="utf-8")
    body = text[text.index("\n", start) :].split("\n## ", 1)[0]
    if not re.search(r"^- ", body, re.M):
        raise ReleaseError("CHANGELOG.md has no line under `Unreleased`; say what changed")
    texts["CHANGELOG.md"] = text[:start] + re.sub(
        UNRELEASED, f"## {version} ({today})", text[start:], count=1, flags=re.M
    )
    for name, content in texts.items():
        (root / name).write_text(content, encoding="utf-8")


def _one(file: Path, line: str) -> tuple[int, str]:
    """Where the one such line begins, and what it names."""
    found = list(re.finditer(line, file.read_text(encoding="utf-8"), re.M))
    if len(found) != 1:
        raise ReleaseError(f"{file.name} has {len(found)} lines like {line}, not one; mend it first")
    return found[0].start(), found[0][1]


def _replaced(file: Path, line: str, version: str) -> str:
    start, old = _one(file, line)
    text = file.read_text(encoding="utf-8")
    return text[:start] + text[start:].replace(old, version, 1)


# --- what is built ----------------------------------------------------------------------------------------------------


def build(root: Path, dist: Path, *, isolated: bool) -> list[Path]:
    """Build the sdist, and the wheel out of it; what an earlier build left behind is not packed."""
    for left in (root / "build" / "lib", *(root / "build").glob("bdist.*")):
        shutil.rmtree(left, ignore_errors=True)
    _run([sys.executable, "-m", "build", *([] if isolated else ["--no-isolation"]), "--outdir", str(dist), str(root)])
    return sorted(dist.iterdir())


def check_built(files: list[Path], version: str) -> None:
    """twine's checks, what must be in the wheel and what must not, and an import away from the source.

    Raises:
        ReleaseError: something is missing, or of another version.
    """
    _run([sys.executable, "-m", "twine", "check", "--strict", *map(str, files)])
    wheels = [file for file in files if re.fullmatch(rf"jukebox_hf-{re.escape(version)}-.+\.whl", file.name)]
    if len(files) != 2 or len(wheels) != 1 or f"jukebox_hf-{version}.tar.gz" not in {file.name for file in files}:
        raise ReleaseError(f"built were {[file.name for file in files]}, not one wheel and one sdist of {version}")
    (wheel,) = wheels
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as folder:
        names = set(archive.namelist())
        missing = [name for name in SHIPPED if f"jukebox_hf/{name}" not in names]
        strangers = sorted({name.split("/")[0] for name in names} - {"jukebox_hf", f"jukebox_hf-{version}.dist-info"})
        if missing or strangers or not any(name.endswith("LICENSE") for name in names):
            raise ReleaseError(
                f"{wheel.name} lacks {missing or 'nothing'} and holds {strangers or 'nothing'} beside jukebox_hf"
            )
        archive.extractall(folder)
        code = (
            "import jukebox_hf, pathlib; assert pathlib.Path(jukebox_hf.__file__).is_relative_to(r'%s'); "
            "assert pathlib.Path(jukebox_hf.tiny_repository()).is_dir(); print(jukebox_hf.__version__)"
        )
        found = _run([sys.executable, "-c", code % folder], cwd=folder, env={**os.environ, "PYTHONPATH": folder})
    if found.split()[-1] != version:
        raise ReleaseError(f"{wheel.name} says that it is {found}, not {version}")


def _run(words: list[str], **how: object) -> str:
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **how)  # type: ignore[call-overload]
    if done.returncode:
        raise ReleaseError(f"{' '.join(words[:4])} failed:\n{done.stdout}")
    return done.stdout


# --- the release ------------------------------------------------------------------------------------------------------


def copied(root: Path, folder: Path) -> Path:
    """The files of the repository that git does not ignore, but for the tests, in another folder."""
    try:
        names = _run(["git", "-C", str(root), "ls-files", "-co", "--exclude-standard", "-z"]).split("\0")
    except (ReleaseError, OSError):  # a checkout without git, as an archive of it is
        names = [path.relative_to(root).as_posix() for top in PACKED for path in sorted(root.glob(top))]
    for name in names:
        if name and not name.startswith("tests/") and (root / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, folder / name)
    return folder


def release(version: str, root: Path, dist: Path, *, isolated: bool) -> None:
    """Write the version, build, check. `dist` must be empty or not there."""
    if dist.exists() and any(dist.iterdir()):
        raise ReleaseError(f"{dist} is not empty; remove what an older release left there")
    version = check_version(version, root)
    write_version(version, root, datetime.datetime.now(datetime.timezone.utc).date())
    check_built(build(root, dist, isolated=isolated), version)


def main(words: list[str] | None = None) -> None:
    """Read the command line; one sentence where there is no release."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version")
    parser.add_argument("--dry-run", action="store_true", help="in a copy; nothing here changes")
    parser.add_argument("--dist", type=Path, help="where wheel and sdist go (default: dist, of a dry run nowhere)")
    parser.add_argument("--no-isolation", action="store_true", help="build with the setuptools that is installed")
    asked = parser.parse_args(words)
    try:
        if asked.dry_run:
            with tempfile.TemporaryDirectory() as folder:
                root = copied(ROOT, Path(folder) / "repository")
                release(asked.version, root, asked.dist or Path(folder) / "dist", isolated=not asked.no_isolation)
            print(f"{asked.version} could be released; nothing was changed")
            return
        if _run(["git", "-C", str(ROOT), "status", "--porcelain"]).strip():
            raise ReleaseError("there are changes that are not committed; a release is of a commit")
        release(asked.version, ROOT, asked.dist or ROOT / "dist", isolated=not asked.no_isolation)
    except ReleaseError as error:
        sys.exit(f"release: {error}")
    tag = f"v{asked.version}"
    print("built and checked; now")
    print(f"  git commit -am 'Release {asked.version}' && git tag {tag} && git push && git push origin {tag}")
    print("  python -m twine upload dist/*.tar.gz")
    print("the wheel has native steps of this system alone; the package index takes those that cibuildwheel makes")


if __name__ == "__main__":
    main()
