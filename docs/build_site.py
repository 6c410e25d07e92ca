"""Build the docs site, from docs/ and the pages at the root, with nothing from the network: `make site`.

    python docs/build_site.py        writes site/, and checks every link in it
    python docs/build_site.py FOLDER writes it there

Pages are laid out in build/pages as they lie in the repository, so that a link is the same in both; what is linked
there but is no page (a script, a licence) is copied beside them. Pages that are made here: the API of every room from
its docstrings, the help of every command, and lists of the folders that are linked.
"""

import ast
import logging
import os
import re
import shutil
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

ROOT = Path(__file__).resolve().parents[1]
ROOT_PAGES = ("README.md", "MODEL_CARD.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
PACKAGE, CONVERSION = ROOT / "src/jukebox_hf", ROOT / "conversion"
ROOMS = (
    "training",
    "features",
    "recognition",
    "data",
    "rendering",
    "conversion",
)  # below the public names; app/ is the command line
_LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")


# --- pages ------------------------------------------------------------------------------------------------------------


def pages() -> list[str]:
    """The Markdown of the repository that is on the site, by path."""
    return [*ROOT_PAGES, *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))]


def lay_out(folder: Path) -> None:
    """Put everything that the site is built from into a folder, in the repository's own layout."""
    shutil.rmtree(folder, ignore_errors=True)
    for page in pages():
        _write(folder / page, _with_folders_as_pages(page, folder))
    for path, text in {**api_pages(), "generated/commands.md": commands_page()}.items():
        _write(folder / path, text)


def _with_folders_as_pages(page: str, folder: Path) -> str:
    """A page whose links to folders lead to lists of them; the files it links are copied beside it."""
    here = (ROOT / page).parent

    def place(found: re.Match) -> str:
        begin, target, fragment, end = found.groups()
        path = Path(os.path.normpath(here / target))
        if urlsplit(target).scheme or not path.is_relative_to(ROOT) or not path.exists():
            return found[0]  # what leads nowhere is told by the strict build
        inside = path.relative_to(ROOT)
        if path.is_dir():
            _write(folder / inside / "index.md", folder_page(path))
            target = f"{target.rstrip('/')}/index.md"
        elif path.suffix != ".md":
            _write(folder / inside, path.read_bytes())
        return f"{begin}{target}{fragment or ''}{end}"

    return _LINK.sub(place, (ROOT / page).read_text(encoding="utf-8"))


def folder_page(path: Path) -> str:
    """A list of what a folder holds: titles of pages, names of files."""
    pages = sorted(
        page for page in path.glob("*.md") if page.name != "README.md"
    )  # that is the folder's, not the site's
    files = sorted(file.name for file in path.iterdir() if file.is_file() and file not in pages)
    title = path.name.capitalize() if pages else path.relative_to(ROOT).as_posix()
    lines = [f"- [{page_title(page)}]({page.name})" for page in pages] + [f"- `{name}`" for name in files]
    return "\n".join([f"# {title}", "", *lines, ""])


def page_title(page: Path) -> str:
    """Its first heading."""
    return next(line[2:] for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("# "))


def _write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


# --- pages from the code ----------------------------------------------------------------------------------------------


def api_pages() -> dict[str, str]:
    """A page of the public names, and one per room, as directives of mkdocstrings."""
    public = "".join(f"\n::: jukebox_hf.{name}\n" for name in public_names(PACKAGE / "__init__.pyi"))
    found = {
        "generated/api/jukebox_hf.md": f"# jukebox_hf\n\nWhat `import jukebox_hf` gives: these names stay.\n{public}"
    }
    for room in ROOMS:
        folder = CONVERSION if room == "conversion" else PACKAGE / room
        name = "conversion" if room == "conversion" else f"jukebox_hf.{room}"
        words = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
        parts = "".join(_directive(f"{name}.{module}") for module in public_modules(folder))
        found[f"generated/api/{room}.md"] = (
            f"# {'jukebox_hf.' if room == 'conversion' else ''}{name}\n\n{words}\n{parts}"
        )
    return found


def public_names(stub: Path) -> list[str]:
    """The names of a package's stub, classes first."""
    tree = ast.parse(stub.read_text(encoding="utf-8"))
    names = [alias.asname for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    return sorted(filter(None, names), key=lambda name: (not name[0].isupper(), name))


def public_modules(folder: Path) -> list[str]:
    """The files of a room, and of rooms in it, that define a public name; dotted."""
    found = []
    for path in sorted(folder.rglob("*.py")):
        nodes = ast.parse(path.read_text(encoding="utf-8")).body
        has_public = any(
            isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_") for node in nodes
        )
        if has_public and path.name != "__init__.py":
            found.append(".".join(path.relative_to(folder).with_suffix("").parts))
    return found


def _directive(module: str) -> str:
    return f"\n::: {module}\n    options:\n      show_root_toc_entry: true\n"


def commands_page() -> str:
    """Every command's own help."""
    os.environ |= {"COLUMNS": "110", "NO_COLOR": "1", "TERM": "dumb"}
    import click
    import typer
    from typer.testing import CliRunner

    from jukebox_hf.app.cli import app

    runner, parts = CliRunner(), ["# Commands", "", "What each says of itself under `--help`.", ""]

    def tell(command: Any, words: tuple[str, ...]) -> None:
        below = getattr(command, "commands", {})
        for name, child in below.items():
            tell(child, (*words, name))
        if words and not below:
            done = runner.invoke(app, [*words, "--help"], prog_name="jukebox-hf")
            if done.exit_code:
                raise click.ClickException(f"jukebox-hf {' '.join(words)} --help failed:\n{done.output}")
            text = "\n".join(line.rstrip() for line in done.output.strip().splitlines())
            parts.extend([f"## {' '.join(words)}", "", "```text", text, "```", ""])

    tell(typer.main.get_command(app), ())
    return "\n".join(parts)


# --- navigation -------------------------------------------------------------------------------------------------------


def navigation(entries: list[Any], folder: Path) -> list[Any]:
    """The navigation of mkdocs.yml, with the folders in it (`x/`) replaced by the pages that they hold."""
    return [_entry(entry, folder) for entry in entries]


def _entry(entry: Any, folder: Path) -> Any:
    if not isinstance(entry, dict):
        return entry
    ((title, value),) = entry.items()
    if isinstance(value, list):
        return {title: navigation(value, folder)}
    if not value.endswith("/"):
        return entry
    found = sorted(path.relative_to(folder).as_posix() for path in (folder / value).glob("*.md"))
    return {title: sorted(found, key=lambda path: (not path.endswith("index.md"), "jukebox_hf" not in path, path))}


# --- the built site ---------------------------------------------------------------------------------------------------


class _Page(HTMLParser):
    """What a page of HTML links, loads and names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.loads: set[str] = set()
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.names |= {found[key] for key in ("id", "name") if found.get(key)}
        if tag in ("a", "area") and found.get("href"):
            self.links.add(found["href"])
        if tag == "link" and found.get("href") and found.get("rel") not in ("canonical", "prev", "next"):
            self.loads.add(found["href"])
        if found.get("src"):
            self.loads.add(found["src"])


def broken(site: Path) -> Iterator[str]:
    """Links of a built site that lead nowhere, and what it would load from elsewhere."""
    found = {path: _Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    for path, page in found.items():
        where = path.relative_to(site)
        for target in sorted(page.links | page.loads):
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                if target in page.loads and parts.scheme != "data":
                    yield f"{where} loads {target}, which is not its own"
                continue
            if path.name == "404.html":  # its links are from the root of wherever the site lies
                continue
            other = Path(os.path.normpath(path.parent / unquote(parts.path))) if parts.path else path
            other = other / "index.html" if other.is_dir() else other
            if not other.exists():
                yield f"{where} links {target}, which is not there"
            elif parts.fragment and other in found and unquote(parts.fragment) not in found[other].names:
                yield f"{where} links {target}, which has no such heading"


def build(site: Path) -> None:
    """Lay the pages out, build them strictly, check the result.

    Raises:
        SystemExit: a page or a link is missing, a docstring cannot be read, or something would be fetched.
    """
    from mkdocs.commands.build import build as build_pages
    from mkdocs.config import load_config
    from mkdocs.exceptions import Abort

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    folder = ROOT / settings["docs_dir"]
    lay_out(folder)
    config = load_config(
        str(ROOT / "mkdocs.yml"), site_dir=str(site), nav=navigation(settings["nav"], folder), strict=True
    )
    config.plugins.on_startup(command="build", dirty=False)
    try:
        build_pages(config)
    except Abort as error:
        sys.exit(f"the site was not built: {error}")
    finally:
        config.plugins.on_shutdown()
    wrong = list(broken(site))
    if wrong:
        sys.exit("\n".join([*wrong, f"{len(wrong)} links are broken"]))


if __name__ == "__main__":
    build(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT / "site")
