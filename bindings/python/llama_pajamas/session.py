"""Sessions: answers, and what a session holds as bytes."""

from __future__ import annotations

from typing import Optional, Sequence

from . import _native as native
from .error import Hear, call, listened
from .stream import Stream


class Session:
    """One text in progress, with a context of its own. One call at a time: a second one raises ErrorCode.IN_USE."""

    def __init__(self, raw: native.NativeSession) -> None:
        self._raw = raw

    def generate(
        self,
        prompt: str,
        options: Optional[native.GenerateOptions] = None,
        *,
        cancel: Optional[native.CancelToken] = None,
        on_event: Optional[Hear] = None,
    ) -> native.Usage:
        """Answers ``prompt``, which is the whole text: what it has in common with the session's text so far is not computed again.
        Returns when the answer has ended; its text comes as Event.TEXT. An answer that was stopped is no error."""
        return listened(self._raw.generate, prompt, options or native.GenerateOptions(), cancel, hear=on_event)

    def chat(
        self,
        messages: Sequence[native.Message],
        options: Optional[native.GenerateOptions] = None,
        *,
        cancel: Optional[native.CancelToken] = None,
        on_event: Optional[Hear] = None,
    ) -> native.Usage:
        """Answers a conversation, the whole of it, through the model's chat template."""
        return listened(self._raw.chat, list(messages), options or native.GenerateOptions(), cancel, hear=on_event)

    def stream(self, prompt: str, options: Optional[native.GenerateOptions] = None) -> Stream:
        """Begins to answer and returns at once. The session belongs to the stream until that has ended or is closed."""
        return Stream(call(self._raw.stream, prompt, options or native.GenerateOptions()))

    def stream_chat(
        self, messages: Sequence[native.Message], options: Optional[native.GenerateOptions] = None
    ) -> Stream:
        """The same for a conversation."""
        return Stream(call(self._raw.stream_chat, list(messages), options or native.GenerateOptions()))

    def save(self) -> bytes:
        """What the session holds: restore() goes on from there in any process with the same library and model."""
        return call(self._raw.save)

    def restore(self, state: bytes) -> None:
        """Makes the session hold what save() returned; other bytes raise ErrorCode.INVALID_ARGUMENT."""
        call(self._raw.restore, state)

    def fork(self) -> "Session":
        """Opens another session that holds the same and goes on by itself."""
        return Session(call(self._raw.fork))

    def close(self) -> None:
        """Closes it; a call or stream that uses it keeps it until it ends."""
        self._raw.release()

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
