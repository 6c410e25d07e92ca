"""A studio's page, opened on this machine.

Flows in: a studio, and where it may be seen. Flows out: a running server.
"""

import contextlib
import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jukebox_hf.app.studio.studio import Studio
from jukebox_hf.model.checks.validation import require

_INSTALL_STUDIO = 'pip install "jukebox_hf[studio]"'
_SYSTEM_FONTS = ("system-ui", "sans-serif")  # gradio's own would be fetched from elsewhere

_CONTRAST = {  # gradio's own labels, hints and buttons have less than the 4.5 to 1 that people need
    "block_title_text_color": "*neutral_800",
    "block_title_background_fill": "transparent",
    "block_title_padding": "0",
    "block_label_text_color": "*neutral_800",
    "block_label_background_fill": "transparent",
    "block_info_text_color": "*neutral_600",
    "block_info_text_color_dark": "*neutral_300",
    "block_title_text_color_dark": "*neutral_100",
    "block_label_text_color_dark": "*neutral_100",
    "body_text_color_subdued": "*neutral_600",
    "body_text_color_subdued_dark": "*neutral_300",
    "button_primary_background_fill": "*primary_700",
    "button_primary_background_fill_hover": "*primary_800",
    "color_accent": "*primary_700",
    "slider_color": "*primary_700",
    "input_border_width": "1px",
    "input_border_color": "*neutral_400",
    "input_border_color_dark": "*neutral_500",
}


@dataclass(frozen=True)
class PageAddress:
    """Where a page is seen.

    Attributes:
        port: to listen at; 0 for any that is free.
        host: 127.0.0.1, this machine alone, unless a container needs another.
        share: whether gradio may lend a public address.
        mcp: whether its endpoints are tools for agents too.
    """

    port: int = 7860
    host: str = "127.0.0.1"
    share: bool = False
    mcp: bool = False


def check_installed(mcp: bool = False) -> None:
    """Refuse, before a project is opened, what cannot be shown.

    Raises:
        ValueError: gradio, or what its MCP server needs, is not installed.
    """
    for module, is_needed in (("gradio", True), ("mcp", mcp)):
        is_there = not is_needed or importlib.util.find_spec(module) is not None
        require(is_there, f"the studio needs {module}, which is not installed; {_INSTALL_STUDIO}")


@contextlib.contextmanager
def opened_page(studio: Studio, address: PageAddress = PageAddress()) -> Iterator[tuple[Any, str]]:
    """Serve the page while the block runs; gives gradio's server and the page's address.

    Raises:
        ValueError: a port that is taken, or a library that is missing.
    """
    check_installed(address.mcp)
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    import gradio as gr

    from jukebox_hf.app.studio.page import build_page
    from jukebox_hf.app.studio.page_script import PAGE_STYLE

    limits = studio.limits
    page = build_page(studio)
    page.queue(max_size=limits.waiting, default_concurrency_limit=None)
    try:
        _, url, shared = page.launch(
            server_name=address.host,
            server_port=address.port or _free_port(address.host),
            share=address.share,
            inbrowser=False,
            quiet=True,
            prevent_thread_lock=True,
            max_file_size=limits.megabytes * 2**20,
            allowed_paths=[str(studio.project.folder.resolve() / name) for name in ("songs", "timed")],
            footer_links=[],
            ssr_mode=False,
            mcp_server=address.mcp,
            css=PAGE_STYLE,
            theme=gr.themes.Soft(primary_hue="amber", font=_SYSTEM_FONTS, font_mono=("monospace",)).set(**_CONTRAST),
        )
    except OSError as error:
        raise ValueError(f"--port {address.port} cannot be used here ({error}); choose another one") from None
    try:
        yield page, shared or url
    finally:
        page.close(verbose=False)


def _free_port(host: str) -> int:
    import socket

    with socket.socket() as found:
        found.bind((host, 0))
        return found.getsockname()[1]
