"""The addresses of the server: OpenAI's for speech, voices and models, and a queue of jobs for long songs.

    POST   /v1/audio/speech         a song's sound, sent while it is written
    GET    /v1/audio/voices         artists and genres
    GET    /v1/models, .../{id}     the model that is served
    POST   /v1/jobs                 the same body as speech; the song is made whether anybody waits or not
    GET    /v1/jobs, .../{id}       how far jobs are
    GET    /v1/jobs/{id}/audio      the finished song
    POST   /v1/jobs/{id}/cancel     frees its place and keeps its codes;  .../resume  goes on from them
    DELETE /v1/jobs/{id}            forgets it
    GET    /health                  whether songs are made; needs no key

Flows in: requests of HTTP. Flows out: answers; what is refused is a sentence in OpenAI's JSON.
"""

import asyncio
import contextlib
import re
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from jukebox_hf.app.output import say
from jukebox_hf.app.runs.requests import new_seed
from jukebox_hf.app.serving.api_errors import ApiError
from jukebox_hf.app.serving.api_keys import is_let_in
from jukebox_hf.app.serving.job_queue import JobQueue
from jukebox_hf.app.serving.serve_options import ServeOptions
from jukebox_hf.app.serving.served_job import ServedJob, song_facts
from jukebox_hf.app.serving.speech_request import SpeechRequest, read_speech_request
from jukebox_hf.app.serving.speech_response import MEDIA_TYPES, SpeechResponse
from jukebox_hf.model.checks.json_files import parse_json

_SECONDS_FOR_A_BODY = 30
_MOST_LISTED = 100
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_PORT = re.compile(r":\d+$")  # which clients leave out where it is 80


@dataclass
class Endpoints:
    """What answers at each address.

    Attributes:
        queue: of all jobs.
        caps: of what is asked.
        is_sampling: whether songs are made.
        streams: answers with sound that are open.
    """

    queue: JobQueue
    caps: ServeOptions
    is_sampling: Callable[[], bool]
    streams: int = field(default=0)

    def routes(self) -> list[Route]:
        """Every address, and what answers."""
        return [
            Route("/health", self.health, methods=["GET"]),
            Route("/v1/models", self.models, methods=["GET"]),
            Route("/v1/models/{model:path}", self.one_model, methods=["GET"]),
            Route("/v1/audio/voices", self.voices, methods=["GET"]),
            Route("/v1/audio/speech", self.speech, methods=["POST"]),
            Route("/v1/jobs", self.add_job, methods=["POST"]),
            Route("/v1/jobs", self.jobs, methods=["GET"]),
            Route("/v1/jobs/{job}", self.job, methods=["GET"]),
            Route("/v1/jobs/{job}", self.delete_job, methods=["DELETE"]),
            Route("/v1/jobs/{job}/audio", self.audio, methods=["GET"]),
            Route("/v1/jobs/{job}/cancel", self.cancel_job, methods=["POST"]),
            Route("/v1/jobs/{job}/resume", self.resume_job, methods=["POST"]),
        ]

    async def health(self, request: Request) -> Response:
        """Whether songs are made."""
        is_well = self.is_sampling()
        return JSONResponse({"status": "ok" if is_well else "the sampling thread has ended"}, 200 if is_well else 503)

    async def models(self, request: Request) -> Response:
        """The one model, as a list."""
        return JSONResponse({"object": "list", "data": [self._model()]})

    async def one_model(self, request: Request) -> Response:
        """The same by its name."""
        self._check_model(request.path_params["model"])
        return JSONResponse(self._model())

    async def voices(self, request: Request) -> Response:
        """Artists, which are the voices, and genres, which are the instructions."""
        found = await asyncio.to_thread(self.queue.served.labels)
        return JSONResponse({"object": "list", "voices": found["artists"], "instructions": found["genres"]})

    async def speech(self, request: Request) -> Response:
        """A song, heard while it is written; its place is free again when the client goes away."""
        if self.streams >= self.caps.max_streams:
            raise ApiError(
                429, f"{self.streams} answers with sound are open, as many as this server gives; try later", "too_many"
            )
        self.streams += 1
        is_answered = False
        try:
            asked = await self._asked(request)
            changed, loop = asyncio.Event(), asyncio.get_running_loop()
            job = await asyncio.to_thread(self._queued, asked, lambda: _wake(loop, changed))
            is_answered = True
            return _Counted(SpeechResponse(self.queue, job, asked, changed), self._stream_ended)
        finally:
            if not is_answered:
                self._stream_ended()

    async def add_job(self, request: Request) -> Response:
        """Put a song into the queue."""
        asked = await self._asked(request)
        job = await asyncio.to_thread(self._queued, asked)
        return JSONResponse(job.to_dict(), 202, headers={"location": f"/v1/jobs/{job.id}"})

    async def jobs(self, request: Request) -> Response:
        """The newest jobs, at most a hundred; `?after=ID` gives those behind one."""
        jobs, after = self.queue.all(), request.query_params.get("after")
        if after is not None:
            number = self.queue.get(after).number
            jobs = [job for job in jobs if job.number < number]
        listed = [job.to_dict() for job in jobs[:_MOST_LISTED]]
        return JSONResponse({"object": "list", "data": listed, "has_more": len(jobs) > _MOST_LISTED})

    async def job(self, request: Request) -> Response:
        """How far a job is; of one that is done, what its song is."""
        job = self._job(request)
        told = job.to_dict()
        if job.status == "completed":
            try:
                self.queue.folder.check_own(job.id, job.target.sidecar)
                told["song"] = await asyncio.to_thread(song_facts, job)
            except (ValueError, OSError):
                raise _is_gone(job) from None
        return JSONResponse(told)

    async def audio(self, request: Request) -> Response:
        """The audio file of a finished song."""
        job = self._job(request)
        if job.status != "completed":
            done = f"{100 * job.progress:.0f} %"
            raise ApiError(409, f"the job {job.id} is {job.status} ({done} of its codes are there)", "job_not_done")
        try:
            self.queue.folder.check_own(job.id, job.target.audio)
        except (ValueError, OSError):
            raise _is_gone(job) from None
        kind = MEDIA_TYPES.get(job.request.format, MEDIA_TYPES.get(job.target.suffix[1:], "audio/wav"))
        return FileResponse(job.target.audio, media_type=kind, filename=f"{job.id}{job.target.suffix}")

    async def cancel_job(self, request: Request) -> Response:
        """Free a job's place."""
        job = self._job(request)
        await asyncio.to_thread(self.queue.cancel, job)
        return JSONResponse(job.to_dict())

    async def resume_job(self, request: Request) -> Response:
        """Go on with a job that rests."""
        job = self._job(request)
        await asyncio.to_thread(self.queue.resume, job)
        return JSONResponse(job.to_dict())

    async def delete_job(self, request: Request) -> Response:
        """Forget a job."""
        job = self._job(request)
        await asyncio.to_thread(self.queue.delete, job)
        return JSONResponse({"id": job.id, "object": "audio.job", "deleted": True})

    def _job(self, request: Request) -> ServedJob:
        return self.queue.get(request.path_params["job"])

    def _model(self) -> dict[str, Any]:
        return {"id": self.queue.served.name, "object": "model", "created": 0, "owned_by": "jukebox_hf"}

    def _check_model(self, name: str) -> None:
        served = self.queue.served.name
        if name != served:
            raise ApiError(
                404, f"the model {name!r:.80} is not served here; use {served!r}", "model_not_found", "model"
            )

    async def _asked(self, request: Request) -> SpeechRequest:
        """The body of a request, capped and read."""
        asked = read_speech_request(await _json_of(request, self.caps.max_body * 1024), self.caps)
        if asked.model is not None:
            self._check_model(asked.model)
        return asked

    def _queued(self, asked: SpeechRequest, wake: Callable[[], None] | None = None) -> ServedJob:
        said = {"seed": new_seed(), **asked.said}
        song, warnings = self.queue.served.plan(said, self.caps.max_seconds)
        seconds = song.requests[0].seconds
        if seconds > self.caps.max_seconds:
            raise ApiError(400, f"the song has {seconds:g} s, over the {self.caps.max_seconds:g} allowed", "over_cap")
        return self.queue.add(song, warnings, wake)

    def _stream_ended(self) -> None:
        self.streams -= 1


def http_app(endpoints: Endpoints, key: str | None, host: str, addresses: tuple[str, ...] = ("/",)) -> ASGIApp:
    """The application, behind its key.

    Args:
        endpoints: what answers.
        key: that clients must send; None lets everybody in.
        host: that the server listens at.
        addresses: beginnings of those that are answered.
    """
    app = Starlette(
        routes=[route for route in endpoints.routes() if route.path.startswith(addresses)],
        exception_handlers={ApiError: _refused, HTTPException: _not_there, Exception: _broken},
    )
    return _Doorkeeper(app, key, _LOOPBACK if key is None and host in ("127.0.0.1", "localhost", "::1") else ())


class _Doorkeeper:
    """Lets nobody in without the key; without one, no page of a browser that calls this machine by another name."""

    def __init__(self, app: ASGIApp, key: str | None, hosts: tuple[str, ...]) -> None:
        self._app, self._key, self._hosts = app, key, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        error = None
        if scope["path"] != "/health" and not is_let_in(self._key, headers.get("authorization")):
            said = "is missing" if "authorization" not in headers else "is wrong"
            error = ApiError(
                401, f"the API key {said}; send the one of this server as Authorization: Bearer KEY", "invalid_api_key"
            )
        elif self._hosts and _PORT.sub("", headers.get("host", "").lower()) not in self._hosts:
            error = ApiError(403, "this server answers on this machine alone; call it by 127.0.0.1", "wrong_host")
        answer = self._app if error is None else JSONResponse(error.to_dict(), error.status)
        await answer(scope, receive, send)


class _Counted(Response):
    """A response, and what is to be done when it has ended, however."""

    def __init__(self, response: Response, ended: Callable[[], None]) -> None:
        super().__init__()
        self._response, self._ended = response, ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._until_the_end():
            await self._response(scope, receive, send)

    @contextlib.contextmanager
    def _until_the_end(self) -> Iterator[None]:
        try:
            yield
        finally:
            self._ended()


async def _json_of(request: Request, most: int) -> dict[str, Any]:
    """The JSON of a body.

    Raises:
        ApiError: another kind of body, a large one, a slow one, or no JSON.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # which no page of another site can send unasked
        raise ApiError(415, "the body must be JSON; send it with Content-Type: application/json")
    try:
        content = await asyncio.wait_for(_body_of(request, most), _SECONDS_FOR_A_BODY)
    except asyncio.TimeoutError:
        raise ApiError(408, f"the body did not arrive within {_SECONDS_FOR_A_BODY} s; send it again") from None
    except ClientDisconnect:
        raise ApiError(400, "the connection was closed before the body was whole") from None
    try:
        return parse_json(content, "the body", cure="send a JSON object")
    except ValueError as error:
        raise ApiError(400, str(error)) from None


async def _body_of(request: Request, most: int) -> bytes:
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > most:
            raise ApiError(413, f"the body is over the {most:,} bytes allowed; shorten it", "over_cap")
    return bytes(content)


def _is_gone(job: ServedJob) -> ApiError:
    return ApiError(410, f"the song of the job {job.id} is no file of this server any more", "song_gone")


async def _refused(request: Request, error: ApiError) -> Response:
    return JSONResponse(error.to_dict(), error.status)


async def _not_there(request: Request, error: HTTPException) -> Response:
    what = f"{request.method} {request.url.path[:100]}"
    told = {404: f"{what} is no address of this server", 405: f"{what} is not possible here"}
    refusal = ApiError(error.status_code, told.get(error.status_code, f"{what} is refused"))
    return JSONResponse(refusal.to_dict(), error.status_code, headers=error.headers)


async def _broken(request: Request, error: Exception) -> Response:
    say("".join(traceback.format_exception(error)), err=True)
    refusal = ApiError(500, "something went wrong in the server; its log says what")
    return JSONResponse(refusal.to_dict(), 500)


def _wake(loop: asyncio.AbstractEventLoop, changed: asyncio.Event) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(changed.set)
