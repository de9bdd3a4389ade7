"""Loaded models, and what is opened of them."""

from __future__ import annotations

import json
import os
from typing import Any, Callable, Optional, Sequence, Union

from . import _native as native
from .error import Listener, call
from .session import Session


class Model:
    """Loaded weights with their tokenizer. Any number of threads may use it."""

    def __init__(self, raw: native.NativeModel) -> None:
        self._raw = raw

    def describe(self) -> dict[str, Any]:
        """What was loaded and how: "choice", "memory", "engine", "n_vocab", "is_decoder", …"""
        return json.loads(call(self._raw.describe))

    def tokenize(self, text: str, add_special: bool = True) -> list[int]:
        """Tokens of ``text``; ``add_special`` adds what the model wants around a text, as a generation does."""
        return call(self._raw.tokenize, text, add_special)

    def detokenize(self, tokens: Sequence[int]) -> str:
        """Text of ``tokens``, without control tokens and those that are not in the vocabulary."""
        return call(self._raw.detokenize, list(tokens))

    def session(self, options: Optional[native.SessionOptions] = None) -> Session:
        """Opens a session with an empty text and a context of its own."""
        return Session(call(self._raw.session, options or native.SessionOptions()))

    def load_adapter(self, path: Union[str, os.PathLike[str]]) -> "Adapter":
        """Loads an adapter from a GGUF file."""
        return Adapter(call(self._raw.load_adapter, os.fspath(path)))

    def embedder(self, options: Optional[native.EmbedOptions] = None) -> "Embedder":
        """Opens an embedder."""
        return Embedder(call(self._raw.embedder, options or native.EmbedOptions()))

    def report(self, signals: Optional[native.Signals] = None) -> list[dict[str, Any]]:
        """Tells what the app knows of the device and the library cannot see; what the model does about it."""
        return [json.loads(change) for change in call(self._raw.report, signals or native.Signals())]

    def watch(self, every_s: float = 2.0, on_change: Optional[Callable[[dict[str, Any]], None]] = None) -> "Watch":
        """Reads the device's signals on a thread of its own; ``on_change`` runs on that thread."""
        def hear(event: native.Event) -> None:
            if on_change is not None and isinstance(event, native.Event.CHANGE):
                on_change(json.loads(event.json))

        listener = None if on_change is None else Listener(hear)
        return Watch(call(self._raw.watch, max(1, round(every_s * 1000)), listener))

    def close(self) -> None:
        """Closes it; its weights leave memory with the last session, embedder, adapter or watch of it."""
        self._raw.release()

    def __enter__(self) -> "Model":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Adapter:
    """An adapter in memory, beside the weights of one model."""

    def __init__(self, raw: native.Adapter) -> None:
        self._raw = raw

    def use(self, scale: float = 1.0) -> native.AdapterUse:
        """For GenerateOptions.adapters: 1 as it was trained, 0 not at all, below 0 against it."""
        return native.AdapterUse(adapter=self._raw, scale=scale)

    def close(self) -> None:
        """Frees it; sessions whose last answer had it keep it until their next."""
        self._raw.release()

    def __enter__(self) -> "Adapter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Embedder:
    """Turns texts into vectors. Threads that share one wait for each other."""

    def __init__(self, raw: native.NativeEmbedder) -> None:
        self._raw = raw

    def embed(self, text: str, *, cancel: Optional[native.CancelToken] = None) -> list[float]:
        """The vector of ``text``."""
        return call(self._raw.embed, text, cancel)

    def close(self) -> None:
        """Closes it."""
        self._raw.release()

    def __enter__(self) -> "Embedder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Watch:
    """Reads the device's signals for one model until it is closed."""

    def __init__(self, raw: native.NativeWatch) -> None:
        self._raw = raw

    def close(self) -> None:
        """Ends it and waits until its callback has run for the last time. Not to be called by that callback."""
        self._raw.release()

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
