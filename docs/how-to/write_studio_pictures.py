"""Write the pictures of the studio's page: composes a small song with the tiny model, and looks at it.

    python docs/how-to/write_studio_pictures.py

needs the extra `studio` and a chromium.
"""

import runpy
import tempfile
import time
from pathlib import Path

from jukebox_hf.app.runs.run_options import RunOptions
from jukebox_hf.app.studio.launch import PageAddress, opened_page
from jukebox_hf.app.studio.project import Project
from jukebox_hf.app.studio.studio import Studio

HERE = Path(__file__).parent
WORDS = {"lyrics": "row row row your boat\ngently down the stream", "artist": "Bo Vale", "genre": "folk"}


def main() -> None:
    """Compose, open, look."""
    harness = runpy.run_path(str(HERE.parents[1] / "tests" / "headless_browser.py"))
    with tempfile.TemporaryDirectory() as folder, Project.opened(Path(folder) / "boat song", "tiny") as project:
        studio = Studio(project, {}, RunOptions())
        studio.sketch(WORDS | {"seconds": 4.0, "seed": 3}, 3).result()
        studio.continue_take(2, {}, 2.0, 2).result()
        studio.repaint(4, 1, 2, seed=5).result()
        project.choose(2)
        with opened_page(studio, PageAddress(port=0)) as (_, url):
            browser = harness["Browser"](harness["find_browser"](), tempfile.mkdtemp(dir=folder))
            try:
                browser.resize(1180, 1060)
                browser.visit(url)
                browser.wait_for("document.querySelector('#desk audio')?.readyState")
                browser.evaluate("document.querySelector('#desk audio').currentTime = 1.2")
                time.sleep(1)
                (HERE / "studio.png").write_bytes(browser.picture())
                browser.resize(390, 844, is_phone=True)
                browser.evaluate("document.querySelector('#desk').scrollIntoView()")
                time.sleep(1)
                (HERE / "studio-phone.png").write_bytes(browser.picture())
            finally:
                browser.close()


if __name__ == "__main__":
    main()
