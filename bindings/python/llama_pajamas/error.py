"""Errors, and how calls of the library raise them."""

from __future__ import annotations

import json
from typing import Any, Callable, Optional, TypeVar

from . import _native as native

T = TypeVar("T")
Hear = Callable[[native.Event], Optional[bool]]


class Error(Exception):
    """Why a call failed: ``code``, the message, and ``details``, the same for programs."""

    def __init__(self, code: native.ErrorCode, message: str, details: str) -> None:
        super().__init__(message)
        self.code = code
        self.details_json = details

    @property
    def details(self) -> dict[str, Any]:
        """Always has "code"; where they apply "path", "what", "expected", "got", "need_bytes", "have_bytes", "variant", "nearest"."""
        return json.loads(self.details_json)


def call(function: Callable[..., T], *arguments: Any) -> T:
    """Calls the library; its failures become Error."""
    try:
        return function(*arguments)
    except native.LlamaPajamasError.Failed as failed:  # type: ignore[attr-defined] # a class that is added at run time
        raise Error(failed.code, failed.reason, failed.details) from None


class Listener(native.Listener):
    """A callable as the library's listener."""

    def __init__(self, hear: Hear) -> None:
        self.hear = hear
        self.raised: Optional[BaseException] = None

    def on_event(self, event: native.Event) -> bool:
        if self.raised is not None:
            return False
        try:
            return self.hear(event) is not False
        except BaseException as raised:  # it comes out of the call
            self.raised = raised
            return False


def listened(function: Callable[..., T], *arguments: Any, hear: Optional[Hear]) -> T:
    """Calls the library with a listener as the last argument; what that raises comes out of the call."""
    if hear is None:
        return call(function, *arguments, None)
    listener = Listener(hear)
    try:
        result = call(function, *arguments, listener)
    except Error:
        if listener.raised is not None:
            raise listener.raised from None
        raise
    if listener.raised is not None:
        raise listener.raised
    return result
