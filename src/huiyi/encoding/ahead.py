"""What is embedded while the last is being written: calls of one encoder at once, their answers in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from huiyi.encoding.machines import RayEncoder
from huiyi.errors import HuiyiError
from huiyi.types import Encoder

MOST_PLACES = 256

Piece = TypeVar("Piece")
Made = TypeVar("Made")


@contextmanager
def in_order(
    encoder: Encoder | None, call: Callable[[Piece], Made], pieces: Iterable[Piece]
) -> Iterator[Iterator[tuple[Piece, Future[Made]]]]:
    """Each piece with what `call` makes of it, in the order of `pieces`: as many calls at once as the encoder has places, in threads.

    No more pieces are drawn than are called. A `with` that is left early closes the encoder, and with it ends the calls that have begun.
    """
    if not isinstance(encoder, RayEncoder):
        yield ((piece, _called(call, piece)) for piece in pieces)
        return
    waiting: deque[tuple[Piece, Future[Made]]] = deque()

    def made() -> Iterator[tuple[Piece, Future[Made]]]:
        for piece in pieces:
            waiting.append((piece, pool.submit(call, piece)))
            while waiting and (len(waiting) >= min(encoder.places, MOST_PLACES) or waiting[0][1].done()):
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()

    with ThreadPoolExecutor(MOST_PLACES, "huiyi-ahead") as pool:
        try:
            yield made()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            encoder.close()
            raise


def _called(call: Callable[[Piece], Made], piece: Piece) -> Future[Made]:
    future: Future[Made] = Future()
    try:
        future.set_result(call(piece))
    except HuiyiError as error:
        future.set_exception(error)
    return future
