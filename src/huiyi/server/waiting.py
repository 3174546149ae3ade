"""How requests wait for the model: each in a thread of its own, so that the event loop never does, bounded in number and in time.

Whoever leaves, or waits too long, cancels what has not begun for them.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import TypeVar

from starlette.requests import Request

from huiyi.errors import Overloaded, Unavailable

T = TypeVar("T")


class ClientGone(Exception):
    """Nobody is there to be answered."""


class WaitingRoom:
    """max_requests: at once; one more is refused. max_wait_s: for a whole request."""

    def __init__(self, max_requests: int, max_wait_s: float) -> None:
        self._max_requests, self._max_wait_s = max_requests, max_wait_s
        self._threads = ThreadPoolExecutor(max_requests, thread_name_prefix="huiyi-request")
        self._cancels: set[threading.Event] = set()

    @property
    def requests(self) -> int:
        return len(self._cancels)

    async def run(self, request: Request | None, work: Callable[[threading.Event], T]) -> T:
        """`work` in a thread; the event it is given is set when it should give up. Raises what it raises, and Overloaded, Unavailable.

        request: whose body has been read; None where it still comes.
        """
        if len(self._cancels) >= self._max_requests:
            raise Overloaded(f"{self._max_requests:,} requests are being answered, the most at once here; try again in a moment")
        cancelled = threading.Event()
        self._cancels.add(cancelled)
        working = asyncio.get_running_loop().run_in_executor(self._threads, _answer, work, cancelled)
        leaving = asyncio.ensure_future(request.receive() if request else asyncio.Event().wait())  # what comes next is a disconnect
        try:
            await asyncio.wait((working, leaving), timeout=self._max_wait_s, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            if leaving.done():
                raise ClientGone
            raise Unavailable(f"this request was not done within {self._max_wait_s:g} s; send fewer texts in a request")
        finally:
            cancelled.set()
            leaving.cancel()
            self._cancels.discard(cancelled)
            working.add_done_callback(lambda done: done.cancelled() or done.exception())

    def close(self) -> None:
        """Everyone who waits gives up."""
        for cancelled in list(self._cancels):
            cancelled.set()
        self._threads.shutdown(wait=False, cancel_futures=True)


def _answer(work: Callable[[threading.Event], T], cancelled: threading.Event) -> T:
    """asyncio would take the CancelledError of an encoder for its own."""
    try:
        return work(cancelled)
    except CancelledError as error:
        raise Unavailable("the server is shutting down; ask again") from error
