"""Answers that are fetched event by event, also from asyncio."""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import AsyncIterator, Deque, Iterator, Optional

from . import _native as native
from .error import call


class Stream:
    """An answer under way on a thread of the library, which computes a few tokens ahead and then waits to be asked.

    An iterator and an async iterator of events; ``texts()`` and ``texts_async()`` have the texts alone. At its end it closes itself, and
    ``usage`` tells how it ended. A task that is cancelled while it waits cancels the answer."""

    def __init__(self, raw: native.NativeStream) -> None:
        self._raw = raw
        self._events: Deque[native.Event] = deque()
        self._waiter: Optional[ThreadPoolExecutor] = None
        self.usage: Optional[native.Usage] = None

    def next(self, timeout_s: Optional[float] = None) -> Optional[native.Event]:
        """The next event, Event.DONE at last; None: nothing has come within the time. 0 looks without waiting."""
        if not self._events:
            self._fetch(-1 if timeout_s is None else round(timeout_s * 1000))
        return self._taken() if self._events else None

    def _fetch(self, timeout_ms: int) -> None:
        self._events.extend(call(self._raw.next, timeout_ms))

    def _taken(self) -> native.Event:
        event = self._events.popleft()
        if isinstance(event, native.Event.DONE):
            self.usage = event.usage
            self.close()
        return event

    def __iter__(self) -> Iterator[native.Event]:
        return self

    def __next__(self) -> native.Event:
        if self.usage is not None:
            raise StopIteration
        event = self.next()
        assert event is not None  # it waits as long as it takes
        return event

    def texts(self) -> Iterator[str]:
        """The texts of the answer as they come."""
        for event in self:
            if isinstance(event, native.Event.TEXT):
                yield event.text

    def __aiter__(self) -> AsyncIterator[native.Event]:
        return self

    async def __anext__(self) -> native.Event:
        if self.usage is not None:
            raise StopAsyncIteration
        if not self._events:
            if self._waiter is None:
                self._waiter = ThreadPoolExecutor(1, thread_name_prefix="llama-pajamas-stream")
            try:
                await asyncio.get_running_loop().run_in_executor(self._waiter, self._fetch, -1)
            except asyncio.CancelledError:
                self.cancel()
                raise
        return self._taken()

    async def texts_async(self) -> AsyncIterator[str]:
        """The texts of the answer as they come."""
        async for event in self:
            if isinstance(event, native.Event.TEXT):
                yield event.text

    def cancel(self) -> None:
        """Ends the answer within the work of one layer; what it has told so far can still be fetched. Any thread may call it."""
        self._raw.cancel()

    def close(self) -> None:
        """Gives the session back. An answer that is not over is cancelled and waited for."""
        self._raw.release()
        if self._waiter is not None:
            self._waiter.shutdown(wait=False)
            self._waiter = None

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> "Stream":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
