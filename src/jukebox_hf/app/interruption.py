"""Ctrl-C and SIGTERM: leave at once. What was finished is on the disk already.

A thread waits for the signals, because a signal handler of Python runs only between two steps of the main thread, and
one step of a large network can take longer than the two seconds that a scheduler may grant.
"""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator

from jukebox_hf.app.output import clean, say

_EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


@contextlib.contextmanager
def exits_at_once(farewell: Callable[[], str]) -> Iterator[None]:
    """While the block runs, SIGINT and SIGTERM print `farewell()` on stderr and end the process with 130 or 143."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may place handlers
        yield
        return
    ours, pythons = socket.socketpair()  # Python writes the number of a signal there, whatever the main thread does
    pythons.setblocking(False)
    before = {number: signal.signal(number, lambda *_: None) for number in _EXIT_CODES}
    fd_before = signal.set_wakeup_fd(pythons.fileno(), warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(ours, farewell), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(fd_before)
        for number, handler in before.items():
            signal.signal(number, handler)
        pythons.close()  # ends the watcher
        watcher.join()
        ours.close()


def _watch(ours: socket.socket, farewell: Callable[[], str]) -> None:
    while numbers := ours.recv(1):
        if numbers[0] in _EXIT_CODES:
            say(f"\n{clean(farewell())}", err=True)
            os._exit(_EXIT_CODES[signal.Signals(numbers[0])])
