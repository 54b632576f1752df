"""Calls in threads whose results a main thread waits for that a signal may interrupt."""

import _thread
import contextlib
import queue
from collections.abc import Callable, Iterable, Iterator
from typing import Any


@contextlib.contextmanager
def completed(
    call: Callable[[Any], Any], items: Iterable[Any], num_threads: int
) -> Iterator[Iterator[Any]]:
    """Gives the results of call(item) in the order in which they are ready.

    The threads start with the first result that is asked for.  At the end of the block, or after an
    error or an interruption, pending calls are canceled, and running ones are joined.

    `concurrent.futures.as_completed` holds the locks of all calls for a while, in Python: an
    exception of a signal handler at that moment leaves them held, and the threads wait for ever.
    `threading.Thread` has such moments too, a SimpleQueue and bare threads have none.

    Args:
      call: a function of an item.
      items: the items.
      num_threads: how many calls run at a time.

    Yields:
      An iterator of results; it raises the error of a call.
    """
    waiting: queue.SimpleQueue = queue.SimpleQueue()
    done: queue.SimpleQueue = queue.SimpleQueue()
    gone: queue.SimpleQueue = queue.SimpleQueue()  # An item for each thread that has ended.
    for item in items:
        waiting.put(item)
    count, threads, ended = waiting.qsize(), [], []

    def work():
        try:
            while not ended:
                call_next()
        except queue.Empty:
            pass
        finally:
            gone.put(None)

    def call_next():
        item = waiting.get_nowait()
        try:
            done.put((call(item), None))
        except BaseException as error:
            done.put((None, error))

    def results():
        for _ in range(min(num_threads, count)):
            threads.append(_thread.start_new_thread(work, ()))
        for _ in range(count):
            value, error = done.get()
            if error is not None:
                raise error
            yield value

    try:
        yield results()
    finally:
        ended.append(True)
        for _ in threads:
            gone.get()
