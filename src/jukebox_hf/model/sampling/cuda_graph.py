"""A function over fixed tensors, recorded once and replayed: the host then says one word for hundreds of kernels.

Flows in: a function of no arguments that reads and writes tensors in place. Flows out: what it returned, each time.
Where there is no CUDA, a call is a call.
"""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

WARM_UP = 3  # calls in which libraries choose their kernels and allocate what they keep


class CudaGraph:
    """Calls a function plainly a few times, then captures it as a CUDA graph and replays that.

    Nothing is run that was not asked for: the first calls are the warm-up, and recording runs nothing. So the function
    may advance the state it works on. It must not wait for the device, and it must find its tensors where they were.

    What a call gives is overwritten by the next one.
    """

    def __init__(self, function: Callable[[], Tensor], device: torch.device) -> None:
        self._function, self._device = function, device
        self._is_plain = device.type != "cuda"
        self._calls = 0
        self._stream = self._graph = self._result = None

    @property
    def is_replaying(self) -> bool:
        """Whether calls are replays by now."""
        return self._graph is not None

    def __call__(self) -> Tensor:
        if self._is_plain:
            return self._function()
        with torch.cuda.device(self._device):
            self._calls += 1
            if self._calls <= WARM_UP:
                return self._beside()
            if self._graph is None and not self._capture():
                return self._function()
            self._graph.replay()
            return self._result

    def _beside(self) -> Tensor:
        """A plain call on the stream that will be captured."""
        self._stream = self._stream or torch.cuda.Stream()
        here = torch.cuda.current_stream()
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            result = self._function()
        here.wait_stream(self._stream)
        return result

    def _capture(self) -> bool:
        """Record one call; a function that cannot be recorded stays as it is, with one warning."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                self._result = self._function()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self._is_plain = True
            warnings.warn(
                f"steps could not be captured as a CUDA graph and are taken one kernel at a time, which is slower: "
                f"{str(error).splitlines()[0]}",
                stacklevel=3,
            )
            return False
        self._graph = graph
        return True
