"""The studio's page in a real browser, from the first word to a download; and what other programs ask of it."""

import contextlib
import json
import re
import runpy
import shutil
import signal
import time
from pathlib import Path

import pytest
import soundfile
import yaml

pytest.importorskip("gradio", reason="the studio needs gradio")

import gradio_client

from jukebox_hf.app.runs.run_options import RunOptions
from jukebox_hf.app.studio import views
from jukebox_hf.app.studio.job import News
from jukebox_hf.app.studio.launch import PageAddress, opened_page
from jukebox_hf.app.studio.project import Project, read_tree
from jukebox_hf.app.studio.studio import Limits, Studio

ROOT = Path(__file__).parents[3]
LYRICS = "Row <3 row & row"
VALUE = "document.querySelector('#{} {}').value"


@contextlib.contextmanager
def studio_at(folder, repository, **address):
    """A studio's page over a project: its address."""
    with Project.opened(folder, str(repository)) as project:
        studio = Studio(project, {}, RunOptions(device="cpu"), Limits(seconds=2.0, takes=3))
        with opened_page(studio, PageAddress(port=0, **address)) as (_, url):
            yield url


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "project"


def focus(browser, selector):
    browser.evaluate(f"document.querySelector({selector!r}).focus()")


def click(browser, selector):
    browser.evaluate(f"document.querySelector({selector!r}).click()")


def set_number(browser, element, value):
    """Type a number over the one that is there, as a person does."""
    browser.evaluate(f"document.querySelector('#{element} input[type=number]').select()")
    focus(browser, f"#{element} input[type=number]")
    browser.evaluate("document.activeElement.select()")
    browser.type(str(value))
    browser.press("Tab", 9)


def wait_for_takes(browser, count):
    ended = "document.querySelector('#status [role=alert]')?.textContent"
    all_there = f"document.querySelectorAll('#tree [data-take]').length === {count}"
    there = f"{all_there} && !document.querySelector('#status progress')"
    assert browser.wait_for(f"{there} || {ended}", 180) is True  # else what the page says


def tab(browser, name):
    browser.evaluate(
        f"[...document.querySelectorAll('#actions [role=tab]')].find(t => t.textContent.trim() === '{name}').click()"
    )
    time.sleep(0.2)


def test_a_song_is_composed_in_a_browser(browser, folder, repository, tmp_path):
    browser.resize(1200, 1400)
    with studio_at(folder, repository) as url:
        browser.visit(url)
        browser.wait_for("document.querySelector('#sketch')")
        focus(browser, "#lyrics textarea")
        browser.type(LYRICS)
        set_number(browser, "seconds", 0.15)
        focus(browser, "#seed textarea, #seed input")
        browser.type("7")
        set_number(browser, "count", 2)
        focus(browser, "#sketch")
        browser.press("Enter", 13)  # keyboard alone
        wait_for_takes(browser, 2)
        assert browser.evaluate("document.querySelectorAll('#takes audio').length") == 2
        assert browser.wait_for("document.querySelector('#takes audio').duration") == pytest.approx(0.15, abs=0.01)
        sidecar = folder / "songs/2.json"  # as of a model that knows when its words are sung
        words = [{"text": "Row", "start": 0.0, "end": 0.05}, {"text": "<i>row", "start": 0.05, "end": 0.2}]
        lyrics = {"lyrics": [{"text": "Row <i>row", "start": 0.0, "end": 0.2, "words": words}]}
        sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | lyrics))
        focus(browser, "#takes [data-take='2']")
        browser.press("Enter", 13)
        browser.wait_for("document.querySelector('#desk audio')")
        assert read_tree(folder).chosen == 2
        browser.wait_for("document.querySelector('#takes .chosen')")
        assert browser.wait_for("document.activeElement.dataset.take") == "2"  # the focus is not lost
        lit = "[...document.querySelectorAll('#desk .words .now')].map(word => word.textContent)"
        for second, word in ((0.02, "Row"), (0.1, "<i>row")):
            browser.evaluate(f"document.querySelector('#desk audio').currentTime = {second}")
            assert browser.wait_for(f"({lit})[0] === '{word}' && {lit}") == [word]
        # a stretch is dragged over the waveform, and its numbers follow
        tab(browser, "Repaint")
        box = browser.evaluate(
            "(() => { const wave = document.querySelector('#desk .wave'); wave.scrollIntoView();"
            " const box = wave.getBoundingClientRect(); return [box.left, box.top + 20, box.width]; })()"
        )
        browser.drag(box[0] + 0.2 * box[2], box[1], box[0] + 0.6 * box[2])
        browser.wait_for("Math.abs(" + VALUE.format("to", "input") + " - 0.09) < 0.015")
        assert browser.evaluate("!document.querySelector('#desk .stretch').hidden")
        click(browser, "#repaint")
        wait_for_takes(browser, 3)
        tab(browser, "Continue")
        set_number(browser, "more", 0.1)
        click(browser, "#continue")
        wait_for_takes(browser, 5)
        assert [(node.kind, node.parent) for node in read_tree(folder).nodes[2:]] == [
            ("repaint", 2),
            ("continue", 3),
            ("continue", 3),
        ]
        assert (
            browser.evaluate("document.querySelectorAll('.studio b, #head b, .words i').length") == 0
        )  # lyrics are words, not HTML
        outside = [one for one in browser.requests() if one.startswith("http") and not one.startswith(url)]
        assert [one for one in outside if "127.0.0.1" not in one] == []
    # the studio is closed, and opened again
    with studio_at(folder, "") as url:
        browser.visit(url)
        browser.wait_for("document.querySelector('#tree [data-take=\"3\"]')")
        click(browser, "#tree [data-take='1']")
        browser.wait_for("document.querySelector('#desk .about strong').textContent === 'Take 1'")
        downloads = tmp_path / "downloads"
        downloads.mkdir()
        browser.download_into(downloads)
        click(browser, "#desk .files a")
        stop = time.monotonic() + 120
        while not (downloads / "1.wav").is_file() and time.monotonic() < stop:
            time.sleep(0.05)
        assert (downloads / "1.wav").read_bytes() == (folder / "songs/1.wav").read_bytes()
        # a telephone
        browser.resize(390, 844, is_phone=True)
        time.sleep(0.3)
        assert browser.evaluate("document.documentElement.scrollWidth") <= 390
        unnamed = (
            "[...document.querySelectorAll('.studio button, .studio audio, input, textarea')].filter(e =>"
            " e.offsetParent && !(e.labels && e.labels.length) && !e.getAttribute('aria-label')"
            " && !e.textContent.trim()).map(e => e.outerHTML)"
        )
        assert browser.evaluate(unnamed) == []
        browser.resize(1200, 1400)


def test_what_is_refused_is_said_on_the_page_and_stays(browser, folder, repository):
    with studio_at(folder, repository) as url:
        browser.visit(url)
        browser.wait_for("document.querySelector('#sketch')")
        focus(browser, "#artist input")
        browser.type("the test")
        browser.wait_for(
            "/the testers/i.test(document.querySelector('[role=option]')?.textContent)"
        )  # the closest first
        browser.type("er")
        browser.press("Tab", 9)
        click(browser, "#sketch")
        said = browser.wait_for("document.querySelector('#status [role=alert]')?.textContent")
        assert "did you mean" in said
        assert "--" not in said  # options of a command line, which a page has not
        assert browser.evaluate("document.querySelector('#artist input').value") == "the tester"
        assert browser.complaints() == []
    assert read_tree(folder).nodes == ()


def test_other_programs_compose_by_name_as_the_page_shows(folder, repository):
    page = (ROOT / "docs/how-to/studio.md").read_text(encoding="utf-8")
    code = re.search(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[1]
    with studio_at(folder, repository) as url:
        code = code.replace("http://127.0.0.1:7860", url).replace("Bo Vale", "The Testers").replace("folk", "Soft Rock")
        code = re.sub(r"(second\w*)=(\d)", lambda found: f"{found[1]}={int(found[2]) / 40:g}", code)
        made = {}
        exec(code, made)
        assert [made[name]["kind"] for name in ("longer", "mended", "fine")] == ["continue", "repaint", "upsample"]
        assert made["longer"]["request"]["lyrics"] == "row row row your boat"
        assert soundfile.info(made["audio"]).duration == pytest.approx(made["fine"]["seconds"])
        client = made["studio"]
        assert client.predict(take=2, second=0.05, api_name="/cut")[0]["kind"] == "cut"
        assert client.predict(api_name="/tree") == json.loads((folder / "tree.json").read_text())
        assert client.predict(kind="artists", text="tester", api_name="/names")
        client.predict(api_name="/stop")
        with pytest.raises(gradio_client.exceptions.AppError, match="take 99 is not in this project"):
            client.predict(take=99, api_name="/upsample")
        said = {"lyrics": "", "artist": None, "genre": None, "seed": None, "guidance_scale": 1, "prompt": None}
        with pytest.raises(gradio_client.exceptions.AppError, match="more than the 2 that this studio allows"):
            client.predict(**said, seconds=60, takes=1, api_name="/sketch")


def test_the_commands_of_the_page_open_a_project_that_is_killed_without_loss(folder, repository, start, run_cli):
    page = (ROOT / "docs/how-to/studio.md").read_text(encoding="utf-8")
    opens, prints = re.findall(r"^```bash\njukebox-hf (.*?)\n```$", page, re.MULTILINE | re.DOTALL)
    assert (opens, prints) == ("studio my-project", "tree my-project")
    child = start(opens.split()[0], folder, "--model", repository, "--port", "0")
    stop = time.monotonic() + 120
    is_open = re.compile(r"is open at (http://127\.0\.0\.1:\d+/?)")
    while not (found := is_open.search(child.said if child.log.exists() else "")):
        assert time.monotonic() < stop
        assert child.poll() is None, child.said
        time.sleep(0.1)
    assert gradio_client.Client(found[1], verbose=False).predict(api_name="/tree")["nodes"] == []
    child.send(signal.SIGKILL)
    child.wait()
    assert "0 takes by" in run_cli(prints.split()[0], folder).out


def test_agents_see_the_endpoints_as_tools_with_the_words_of_the_options(folder, repository):
    pytest.importorskip("mcp", reason="the MCP server needs mcp")
    import httpx

    with studio_at(folder, repository, mcp=True) as url:
        tools = {tool["name"]: tool for tool in httpx.get(f"{url}gradio_api/mcp/schema").json()}
    upsample = next(tool for name, tool in tools.items() if name.endswith("upsample"))
    assert "Write the finer levels of a take" in upsample["description"]
    assert upsample["inputSchema"]["properties"]["take"]["description"] == "Number of a take in the tree."
    sketch = next(tool for name, tool in tools.items() if name.endswith("sketch"))["inputSchema"]
    assert "required" not in sketch  # least of all a recording
    assert "as `names` writes it" in sketch["properties"]["artist"]["description"]  # not a command, which no agent has
    assert "jukebox-hf" not in json.dumps(tools)
    assert "enum" not in sketch["properties"]["artist"]  # of which a mix, or a name beyond the first, is none


def test_an_agent_sketches_from_words_alone_and_is_told_what_is_not_sung_as_asked(folder, repository):
    streams = pytest.importorskip("mcp.client.streamable_http", reason="the MCP server needs mcp")
    import asyncio

    from mcp import ClientSession

    async def ask(url):
        async with (
            streams.streamablehttp_client(f"{url}gradio_api/mcp/") as (reads, writes, _),
            ClientSession(reads, writes) as session,
        ):
            await session.initialize()
            early = await session.call_tool("cut", {"take": 1.0, "second": 0.1})  # a whole number, in JSON
            said = {
                "lyrics": "row",
                "artist": "the testers:0.6,quiet ones:0.4",
                "seconds": 0.2,
                "seed": "3",
                "takes": 1,
            }
            nowhere = await session.call_tool("sketch", said | {"prompt": "http://127.0.0.1:9/row.wav"})
            misspelt = await session.call_tool("sketch", said | {"artist": "the tester"})
            unknown = await session.call_tool("sketch", said | {"artist": "Zzyzx Qwq"})
            return early, nowhere, misspelt, unknown, await session.call_tool("sketch", said)

    with studio_at(folder, repository, mcp=True) as url:
        early, nowhere, misspelt, unknown, sketched = asyncio.run(ask(url))
    assert early.content[0].text == "take 1 is not in this project, which has none yet; sketch some first"
    assert nowhere.content[0].text.startswith("prompt='http://127.0.0.1:9/row.wav' cannot be fetched (")
    assert nowhere.content[0].text.endswith(
        "; give the address of a recording that anybody may fetch, or send the file"
    )
    assert "did you mean 'the testers'" in misspelt.content[0].text
    assert misspelt.content[0].text.endswith("; correct it or write 'unknown'")
    assert not unknown.isError
    assert "artist='Zzyzx Qwq' is not listed" in unknown.content[0].text
    assert "take 'unknown' instead" in unknown.content[0].text
    assert not sketched.isError, sketched.content
    assert "'warnings': []" in sketched.content[0].text
    _, take = read_tree(folder).nodes
    assert (take.state, take.request["artist"], take.request["seed"]) == ("done", "the testers:0.6,quiet ones:0.4", 3)


def test_copies_that_gradio_made_are_gone_when_the_page_is_closed(folder, repository, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "copies"))
    with studio_at(folder, repository) as url:
        client = gradio_client.Client(url, verbose=False, download_files=str(tmp_path / "fetched"))
        (take,) = client.predict(lyrics="row", seconds=0.2, seed="3", takes=1, api_name="/sketch")
        client.predict(take=take["id"], api_name="/files")
        assert any(path.is_file() for path in (tmp_path / "copies").rglob("*"))
    stop = time.monotonic() + 20
    while any(path.is_file() for path in (tmp_path / "copies").rglob("*")):
        assert time.monotonic() < stop, sorted((tmp_path / "copies").rglob("*"))
        time.sleep(0.1)
    assert (folder / "songs/1.wav").is_file()


def test_a_page_is_seen_on_this_machine_alone(folder, repository):
    import httpx

    with studio_at(folder, repository) as url:
        assert url.startswith("http://127.0.0.1:")
        inside = httpx.get(f"{url}{views.url_of(folder / 'tree.json')}")
        assert inside.status_code == 403  # songs and words in time are served, and nothing else
        assert httpx.get(f"{url}{views.url_of(Path('/etc/hostname'))}").status_code == 403


def test_takes_that_are_withdrawn_while_the_page_is_drawn_are_left_out(project):
    (take,) = project.add(None, "generate", [{"kind": "generate", "seconds": 0.1, "seed": 3}])
    assert "Take 1" in views.takes_html(project, [1, 2], None)
    project.withdraw([take])
    assert "Write some words" in views.takes_html(project, [1], None)


def test_words_are_buttons_that_know_when_they_are_sung():
    lyrics = [
        {
            "text": "Row <row>",
            "words": [{"text": "Row", "start": 0.5, "end": 1}, {"text": "<row>", "start": 1, "end": 2}],
        }
    ]
    shown = views._words({"lyrics": lyrics})
    assert re.findall(r'data-start="([\d.]+)" data-end="([\d.]+)">([^/]*)</button>', shown) == [
        ("0.500", "1.000", "Row"),
        ("1.000", "2.000", "&lt;row&gt;"),
    ]


def test_the_space_runs_the_studio(folder, repository, monkeypatch):
    space = ROOT / "examples/space"
    monkeypatch.setenv("JUKEBOX_MODEL", str(repository))
    app = runpy.run_path(str(space / "app.py"))
    with app["opened"](folder, PageAddress(port=0)) as url:
        client = gradio_client.Client(url, verbose=False)
        assert client.predict(api_name="/tree")["model"] == str(repository)
    _, front, _ = (space / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    card = yaml.safe_load(front)
    assert (card["sdk"], card["app_file"]) == ("gradio", "app.py")
    assert set(card["colorFrom"].split()) | {card["colorTo"]} <= {
        "red",
        "yellow",
        "green",
        "blue",
        "indigo",
        "purple",
        "pink",
        "gray",
    }
    assert len(card["short_description"]) <= 60
    assert re.fullmatch(r"6\.\d+\.\d+", card["sdk_version"])


def test_without_gradio_the_command_says_what_to_install(monkeypatch, run_cli, says_one_sentence, tmp_path):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "gradio" else real(name, *more)
    )
    says_one_sentence(run_cli("studio", tmp_path / "project"), 'pip install "jukebox_hf[studio]"')
    assert not (tmp_path / "project").exists()


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="sound that streams needs ffmpeg")
def test_refining_plays_while_it_is_written(browser, folder, repository):
    with studio_at(folder, repository) as url:
        client = gradio_client.Client(url, verbose=False)
        client.predict("", None, None, 0.1, "7", 1, None, 1, api_name="/sketch")
        browser.visit(url)
        browser.wait_for("document.querySelector('#tree [data-take]')")
        click(browser, "#tree [data-take='1']")
        browser.wait_for("document.querySelector('#desk audio')")
        tab(browser, "Refine")
        click(browser, "#upsample")
        wait_for_takes(browser, 2)
        assert any("stream" in request for request in browser.requests())
        assert browser.wait_for("document.querySelector('#desk .about').textContent.includes('finest level')", 120)


def test_a_page_that_is_opened_again_shows_what_is_being_written_and_how_to_stop_it(browser, folder, repository):
    with studio_at(folder, repository) as url:
        client = gradio_client.Client(url, verbose=False)
        client.predict("", None, None, 2.0, "7", 1, None, 1, api_name="/sketch")
        refining = client.submit(take=1, api_name="/upsample")  # as another page, or one that was closed, asked for it
        browser.visit(url)
        browser.wait_for("document.querySelector('#tree [data-take=\"2\"]')")
        browser.visit(url)
        assert "Refining: " in browser.wait_for("document.querySelector('#status progress') && document.body.innerText")
        assert browser.evaluate("document.querySelectorAll('#takes [data-take]').length") == 0  # nothing to choose yet
        click(browser, "#stop")
        browser.wait_for("document.querySelector('#status').innerText.startsWith('Stopped; ')")
        browser.wait_for("document.querySelector('#go-on')?.offsetParent && document.querySelector('#takes .chosen')")
        assert browser.evaluate("document.querySelector('#actions').offsetParent") is None  # nothing else can be done
        assert refining.exception() is not None


def test_a_bar_says_that_nothing_is_written_yet():
    assert "Sketching: getting ready" in views.status_html("Sketching", News(None, 0.0, None))
    assert "Sketching: level 2, 10%" in views.status_html("Sketching", News(2, 0.1, None))
