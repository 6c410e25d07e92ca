"""Replicas of the server behind Ray Serve: one address, as many models as there are GPUs, songs batched in each.

    JUKEBOX_HF_API_KEY=... serve run examples.serve.ray_replicas:app model=my-jukebox jobs=/data/jobs replicas=8 gpus=1

(from the root of this repository, with `pip install "jukebox_hf[serve]" "ray[serve]"`). Ray sends a request to one
with few open. A replica keeps its songs in a folder of its own, and no other knows them: the queue at /v1/jobs is
for single servers, and is not served here. What is served is all that one answer ends: speech, voices, models.
Ray (2.60) gives its own processes 15 s to start, and no option for it: where all cores are taken it says "The current
node timed out during startup"; start it where one is free.
"""

import atexit
import contextlib
import os
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

from jukebox_hf.app.runs.run_options import RunOptions
from jukebox_hf.app.serving.http_app import Endpoints, http_app
from jukebox_hf.app.serving.job_queue import JobQueue
from jukebox_hf.app.serving.jobs_folder import JobsFolder
from jukebox_hf.app.serving.sampling_thread import SamplingThread
from jukebox_hf.app.serving.serve_options import ServeOptions
from jukebox_hf.app.serving.served_model import open_served
from jukebox_hf.model.checks.validation import require

_SHARED = ("/health", "/v1/models", "/v1/audio")  # addresses at which any replica will do


def replica(model: str, jobs: str, key: str, device: str = "auto") -> ASGIApp:
    """One server without its port: a model, a thread that samples, and a folder that is held as long as the process.

    Songs of speech whose replica died are nobody's any more: their clients were told so, and ask again.
    """
    caps = ServeOptions(jobs=jobs, api_key=key)
    caps.check()
    folder = JobsFolder(Path(jobs))
    held = contextlib.ExitStack()
    held.enter_context(folder.held())
    atexit.register(held.close)
    for job, _ in list(folder.recorded(print)):
        folder.remove(job)
    served = open_served({"model": model, "revision": None, "dtype": None}, RunOptions(device=device))
    queue = JobQueue(folder, served, caps)
    sampling = SamplingThread(queue, served, print)
    sampling.start()
    return http_app(Endpoints(queue, caps, sampling.is_alive), key, "0.0.0.0", addresses=_SHARED)


def app(options: dict[str, Any]) -> Any:
    """The application that `serve run` starts; every replica builds its own server."""
    from ray import serve

    key = os.environ.get("JUKEBOX_HF_API_KEY", "")
    require(bool(key), "JUKEBOX_HF_API_KEY is not set; every replica must want the same key")
    ServeOptions(jobs=options["jobs"], api_key=key).check()  # here, not in the log of each replica
    model, jobs, gpus = options["model"], Path(options["jobs"]), float(options.get("gpus", 0))

    def build() -> ASGIApp:
        own = jobs / serve.get_replica_context().replica_id.unique_id
        return replica(model, str(own), key, "cuda" if gpus else "cpu")

    deployment = serve.deployment(
        num_replicas=int(options.get("replicas", 2)),
        max_ongoing_requests=64,
        ray_actor_options={"num_gpus": gpus},
    )
    return deployment(serve.ingress(build)(type("Jukebox", (), {}))).bind()
