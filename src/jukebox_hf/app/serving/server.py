"""A server of songs from its start to its end: folder held, model opened, jobs taken up, port listened at.

Flows in: options. Flows out: answers, until Ctrl-C or SIGTERM ends the process at once; whatever ends it, the same
command goes on with all songs from their last windows.
"""

import contextlib
import json
import logging
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h11
import uvicorn
from starlette.responses import JSONResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

from jukebox_hf.app.interruption import exits_at_once
from jukebox_hf.app.progress import Progress
from jukebox_hf.app.runs.run_options import RunOptions
from jukebox_hf.app.serving.api_errors import ApiError
from jukebox_hf.app.serving.api_keys import new_key
from jukebox_hf.app.serving.http_app import Endpoints, http_app
from jukebox_hf.app.serving.job_queue import JobQueue
from jukebox_hf.app.serving.jobs_folder import JobsFolder
from jukebox_hf.app.serving.sampling_thread import SamplingThread
from jukebox_hf.app.serving.serve_options import ServeOptions
from jukebox_hf.app.serving.served_model import open_served

_MORE_CONNECTIONS = 64  # beside those with sound: for jobs, voices and health
_BACKLOG = 256  # connections that wait to be taken
_SECONDS_FOR_A_HEAD = 30.0  # of a request: from the connection, or from the answer before it
_NO_REQUEST = object()


def run_server(words: Mapping[str, Any], options: RunOptions, serve: ServeOptions) -> None:
    """Serve until the process is ended.

    Args:
        words: `model`, `revision`, `dtype` and `adapter`.
        options: how to compute.
        serve: that passed its check.

    Raises:
        ValueError, OSError: before the first request, wherever something cannot be.
    """
    folder, progress = JobsFolder(Path(serve.jobs)), Progress()
    farewell = "jukebox-hf: stopped; unfinished songs go on when the same command is given again"
    with exits_at_once(lambda: farewell), _listening(serve) as listener, folder.held(), progress.warnings_as_lines():
        served = open_served(words, options)
        progress.say(f"jukebox-hf: {served.line}")
        queue = JobQueue(folder, served, serve)
        queue.load(progress.say)
        sampling = SamplingThread(queue, served, progress.say)
        sampling.start()
        key = None if serve.no_api_key else serve.api_key or new_key()
        app = http_app(Endpoints(queue, serve, sampling.is_alive), key, serve.host)
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # what is broken, the application says itself
        _tell(serve, listener, key, queue, progress.say)
        _Server(_config(app, serve)).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Leaves signals to `exits_at_once`: all that is to be kept is on the disk already."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Connection(H11Protocol):
    """Closes a connection on which no request comes: some hundred of these, without a key, would shut everybody out.

    What is no request of HTTP, or one too many, is refused as all else is.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._most, self.limit_concurrency = self.limit_concurrency, None  # uvicorn's own refusal is plain text
        self._served = self.app

    def handle_events(self) -> None:
        """Answer what came; refuse it where too many connections, or requests, are open."""
        is_over = max(len(self.connections), len(self.tasks)) >= self._most
        self.app = _refuse_one_too_many if is_over else self._served
        super().handle_events()

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._next_look = self.loop.call_later(_SECONDS_FOR_A_HEAD, self._look, None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._next_look.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Refuse, and close the connection."""
        refusal = ApiError(400, "that is no request of HTTP/1.1; send one, with its headers whole", "bad_request")
        body = json.dumps(refusal.to_dict()).encode()
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        head = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
        for event in (head, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event))
        self.transport.close()

    def _look(self, seen: Any) -> None:
        """Close it where it waits behind the same request, or none, as when it was looked at last."""
        is_waiting = self.cycle is None or self.cycle.response_complete
        if is_waiting and self.cycle is seen:
            self.transport.close()
        else:
            now = self.cycle if is_waiting else _NO_REQUEST
            self._next_look = self.loop.call_later(_SECONDS_FOR_A_HEAD, self._look, now)


async def _refuse_one_too_many(scope: Any, receive: Any, send: Any) -> None:
    refusal = ApiError(503, "too many connections are open; try again in a moment", "too_many_connections")
    headers = {"connection": "close", "retry-after": "1"}
    await JSONResponse(refusal.to_dict(), refusal.status, headers)(scope, receive, send)


def _config(app: Any, serve: ServeOptions) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="asyncio",
        http=_Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=serve.max_streams + _MORE_CONNECTIONS,
        timeout_keep_alive=5,
        backlog=_BACKLOG,
    )


def _listening(serve: ServeOptions) -> socket.socket:
    """A port that nobody else has, taken before the model is read.

    Raises:
        ValueError: it cannot be had.
    """
    try:
        ((family, kind, protocol, _, address), *_) = socket.getaddrinfo(
            serve.host, serve.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(
            f"--host {serve.host} --port {serve.port} cannot be listened at ({reason}); choose another port, or 0"
        ) from None
    return listener


def _tell(
    serve: ServeOptions, listener: socket.socket, key: str | None, queue: JobQueue, say: Callable[[str], None]
) -> None:
    """Where the server is, with which key, and what it goes on with."""
    going_on = sum(job.is_open for job in queue.all())
    if going_on:
        say(f"jukebox-hf: {going_on} unfinished songs go on")
    if key is None:
        say("jukebox-hf: no API key: everybody who reaches this port may make songs")
    elif serve.api_key is None:
        say(f"jukebox-hf: API key of this run: {key}")
    host = f"[{serve.host}]" if ":" in serve.host else serve.host
    say(f"jukebox-hf: serving {queue.served.name} at http://{host}:{listener.getsockname()[1]}/v1")
