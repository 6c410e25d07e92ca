"""How a server listens, and the caps on all that is asked of it: each option is declared once, as a field.

Flows in: words of a command line. Flows out: `ServeOptions`, checked. Imports neither torch nor a web framework.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from jukebox_hf.app.options import Option, declared, flag_of, options_of
from jukebox_hf.model.checks.takes_wanted import MOST_TAKES
from jukebox_hf.model.checks.text_input import MAX_LYRICS, check_here
from jukebox_hf.model.checks.validation import MAX_SONG_SECONDS, is_integer, is_number, require

_LONGEST_KEY, _SHORTEST_KEY = 200, 8  # characters


def _of_server(default: Any, help: str, **more: Any) -> Any:
    return declared(default, Option(help=help, of="server", commands=("serve",), **more))


def _cap(default: int | float, help: str) -> Any:
    return declared(default, Option(help=help, of="caps", commands=("serve",)))


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """What the user said of the server; each field says what it is."""

    FILLS_IN: ClassVar[bool] = True  # a default stands where nothing is said

    jobs: str = _of_server(
        "jukebox-jobs", "Folder of the jobs, made if need be; nothing is written outside of it.", callback=check_here
    )
    host: str = _of_server("127.0.0.1", "Address to listen at; 0.0.0.0 lets other machines in.")
    port: int = _of_server(8000, "Port to listen at; 0 takes any that is free.")
    api_key: str | None = _of_server(
        None,
        "Key that clients must send; better in the environment as JUKEBOX_HF_API_KEY (default: a new one, printed).",
        env="JUKEBOX_HF_API_KEY",
    )
    no_api_key: bool = _of_server(False, "Let in everybody who reaches the port, without a key.")
    max_lyrics: int = _cap(5_000, "Most characters of lyrics of a song.")
    max_seconds: float = _cap(600.0, "Most seconds of a song.")
    max_best_of: int = _cap(8, "Most takes that a song may be the best of.")
    max_queue: int = _cap(64, "Most songs that wait or are written at a time.")
    max_streams: int = _cap(64, "Most answers with sound that are open at a time.")
    max_body: int = _cap(256, "Most kilobytes of a request.")
    max_disk: float = _cap(10.0, "Most gigabytes of the folder of the jobs, those that wait included.")

    def check(self) -> None:
        """Refuse what no server can do.

        Raises:
            ValueError: in one sentence, with option, value and what is allowed.
        """
        require(self.jobs != "", "--jobs is empty; name the folder of the jobs")
        require(0 <= self.port <= 65535, f"--port {self.port} must be from 0 to 65535; 0 takes any that is free")
        whole = {"max_lyrics": MAX_LYRICS, "max_best_of": MOST_TAKES, "max_queue": 10_000, "max_streams": 10_000}
        for name, most in (whole | {"max_body": 16_384}).items():
            said = getattr(self, name)
            require(
                is_integer(said) and 1 <= said <= most,
                f"{flag_of(name, options_of(ServeOptions)[name])} {said} must be a whole number from 1 to {most}",
            )
        for name, most in (("max_seconds", MAX_SONG_SECONDS), ("max_disk", 1_000_000)):
            said = getattr(self, name)
            require(
                is_number(said) and 0 < said <= most,
                f"{flag_of(name, options_of(ServeOptions)[name])} {said:g} must be over 0 and at most {most}",
            )
        require(
            not (self.no_api_key and self.api_key is not None),
            "--no-api-key and a key (--api-key, or JUKEBOX_HF_API_KEY in the environment) exclude each other; keep one",
        )
        require(
            self.api_key is None or _is_key(self.api_key),
            f"the API key must be {_SHORTEST_KEY} to {_LONGEST_KEY} letters, digits and signs of ASCII without spaces; "
            f"leave it out to have one made",
        )


def _is_key(key: str) -> bool:
    return _SHORTEST_KEY <= len(key) <= _LONGEST_KEY and all("!" <= letter <= "~" for letter in key)
