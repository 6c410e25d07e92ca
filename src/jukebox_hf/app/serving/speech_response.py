"""The answer to a request for speech: sound, sent while it is written where format, loudness and stereo allow it.

Flows in: a job whose codes grow. Flows out: bytes in chunks. A client that goes away frees the place of its song at
once; a song that fails before its first sound is an error in JSON, one that fails behind it ends the connection, so
that no half song looks whole.
"""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from jukebox_hf.app.output import clean
from jukebox_hf.app.runs.planned_songs import PlannedSongs
from jukebox_hf.app.runs.song_making import audio_tags, decoded
from jukebox_hf.app.serving.api_errors import ApiError
from jukebox_hf.app.serving.job_queue import JobQueue
from jukebox_hf.app.serving.served_job import ServedJob
from jukebox_hf.app.serving.song_sound import SongSound, is_streamable
from jukebox_hf.app.serving.speech_request import SpeechRequest
from jukebox_hf.data.audio_io import AUDIO_FORMATS, encode_audio, rate_in
from jukebox_hf.data.streamed_audio import PCM, StreamedAudio, samples_of_wav
from jukebox_hf.model.songs.song_state import SongState

MEDIA_TYPES = {"flac": "audio/flac", "mp3": "audio/mpeg", "ogg": "audio/ogg", "opus": "audio/ogg", "pcm": "audio/pcm"}
_BYTES_AT_A_TIME = 1 << 16  # bytes of a whole file that are sent at once


class SpeechResponse(Response):
    """Waits for the sound of a job and sends it; the job is forgotten when it is over, however that comes about."""

    def __init__(self, queue: JobQueue, job: ServedJob, asked: SpeechRequest, changed: asyncio.Event) -> None:
        super().__init__()
        self._queue, self._job, self._asked, self._changed = queue, job, asked, changed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, as ASGI asks."""
        gone = asyncio.create_task(_until_gone(receive))
        sending = asyncio.create_task(self._send(send))
        try:
            await asyncio.wait((gone, sending), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        except ApiError as error:
            await JSONResponse(error.to_dict(), error.status)(scope, receive, send)
        finally:
            for task in (gone, sending):
                task.cancel()
            await asyncio.gather(gone, sending, return_exceptions=True)
            with contextlib.suppress(ApiError):  # the disk refuses: it rests, and can be deleted later
                await asyncio.to_thread(self._queue.delete, self._job)

    async def _send(self, send: Send) -> None:
        chunks = self._events() if self._asked.is_sse else self._chunks()
        first = await anext(chunks)  # whatever fails until here has a status of its own
        await send({"type": "http.response.start", "status": 200, "headers": self._headers()})
        await send({"type": "http.response.body", "body": first, "more_body": True})
        try:
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except ApiError as error:
            raise ConnectionAbortedError(f"{self._job.id} ended in its midst: {error.message}") from None
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _headers(self) -> list[tuple[bytes, bytes]]:
        job, format = self._job, self._asked.format
        kind = "text/event-stream" if self._asked.is_sse else MEDIA_TYPES.get(format, "audio/wav")
        rate = rate_in(AUDIO_FORMATS[job.request.format], self._queue.served.model.config.sampling_rate)
        headers = {
            "content-type": kind,
            "x-job-id": job.id,
            "x-seed": str(job.request.seed),
            "x-sample-rate": str(rate),
        }
        if job.warnings:
            headers["x-warning"] = clean("; ".join(job.warnings)).encode("ascii", "backslashreplace").decode()[:1000]
        return [(name.encode(), value.encode()) for name, value in headers.items()]

    async def _events(self) -> AsyncIterator[bytes]:
        """The same as events of OpenAI's API."""
        async for chunk in self._chunks():
            yield _event({"type": "speech.audio.delta", "audio": base64.b64encode(chunk).decode()})
        codes = sum(plan.total for plan in self._song.batch.plan.levels)
        usage = {"input_tokens": len(self._job.request.lyrics), "output_tokens": codes}
        usage["total_tokens"] = sum(usage.values())
        yield _event({"type": "speech.audio.done", "usage": usage})

    async def _chunks(self) -> AsyncIterator[bytes]:
        job = self._job
        if job.is_heard and is_streamable(self._song, self._asked.format):
            async for chunk in self._streamed():
                yield chunk
            return
        content = await (self._encoded() if job.is_heard else self._from_file())
        for start in range(0, len(content), _BYTES_AT_A_TIME):
            yield content[start : start + _BYTES_AT_A_TIME]

    async def _streamed(self) -> AsyncIterator[bytes]:
        model = self._queue.served.model
        sound = SongSound(model, self._song)
        file = StreamedAudio(self._asked.format, model.config.sampling_rate, sound.num_samples)
        while not sound.is_over:
            await self._until(lambda: sound.is_ready(self._song.batch.state))
            chunk = await asyncio.to_thread(_next_chunk, file, sound, self._song.batch.state)
            if chunk:
                yield chunk
        if rest := await asyncio.to_thread(file.end):
            yield rest

    async def _encoded(self) -> bytes:
        """A format that is written in one piece, once all codes are there."""
        await self._until(lambda: self._job.has_all_codes)
        return await asyncio.to_thread(self._encode)

    def _encode(self) -> bytes:
        job, song, model = self._job, self._song, self._queue.served.model
        audio = decoded(song.batch.state, 0, song.batch.plan.levels[-1].level, model)
        return self._in_format(
            encode_audio(
                audio,
                model.config.sampling_rate,
                format=job.request.format,
                normalize=job.request.normalize,
                tags=audio_tags(replace(job.request, model=self._queue.served.name)),
            )[0]
        )

    async def _from_file(self) -> bytes:
        await self._until(lambda: self._job.status == "completed")
        return self._in_format(await asyncio.to_thread(self._job.target.audio.read_bytes))

    def _in_format(self, content: bytes) -> bytes:
        return samples_of_wav(content) if self._asked.format == PCM else content

    @property
    def _song(self) -> PlannedSongs:
        """The song as far as it is.

        Raises:
            ApiError: it failed, or was cancelled by somebody else.
        """
        song = self._job.song
        if song is None:
            raise self._ended()
        return song

    def _ended(self) -> ApiError:
        return ApiError(500, self._job.error or f"the job {self._job.id} was ended by somebody else", "job_failed")

    async def _until(self, is_there: Callable[[], bool]) -> None:
        """Wait for something of the job.

        Raises:
            ApiError: it failed, or was cancelled by somebody else.
        """
        while True:
            self._changed.clear()
            if self._job.is_gone or self._job.status in ("failed", "cancelled"):
                raise self._ended()
            if is_there():
                return
            await self._changed.wait()


async def _until_gone(receive: Callable[[], Awaitable[Any]]) -> None:
    """Until the client closes its connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _next_chunk(file: StreamedAudio, sound: SongSound, state: SongState) -> bytes:
    return file.write(sound.next(state))


def _event(told: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(told)}\n\n".encode()
