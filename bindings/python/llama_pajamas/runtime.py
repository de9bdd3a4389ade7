"""Opening, planning, loading."""

from __future__ import annotations

import json
import os
from typing import Any, Optional, Union

from . import _native as native
from .error import Hear, call, listened
from .model import Model


class Runtime:
    """An opened bundle or model file, of which nothing is loaded yet. Any number of threads may use it."""

    def __init__(self, raw: native.NativeRuntime) -> None:
        self._raw = raw

    @classmethod
    def open(cls, path: Union[str, os.PathLike[str]], options: Optional[native.RuntimeOptions] = None) -> "Runtime":
        """Opens the bundle directory or GGUF file at ``path``: reads its description, no weights."""
        return cls(call(native.NativeRuntime.open, os.fspath(path), options or native.RuntimeOptions()))

    def describe(self) -> dict[str, Any]:
        """What was opened: "engine", "variants" and, of a bundle, its manifest as "bundle"."""
        return json.loads(call(self._raw.describe))

    def plan(self, options: Optional[native.PlanOptions] = None) -> native.Plan:
        """Chooses a variant and settings for this device and explains the choice. Reads no weights."""
        return call(self._raw.plan, options or native.PlanOptions())

    def load(
        self,
        options: Optional[native.PlanOptions] = None,
        *,
        cancel: Optional[native.CancelToken] = None,
        on_event: Optional[Hear] = None,
    ) -> Model:
        """Plans and loads what is chosen; ErrorCode.DOES_NOT_FIT when nothing fits. Tells Event.LOADING."""
        return Model(listened(self._raw.load, options or native.PlanOptions(), cancel, hear=on_event))

    def tune(
        self,
        model: Model,
        options: Optional[native.TuneOptions] = None,
        *,
        cancel: Optional[native.CancelToken] = None,
        on_event: Optional[Hear] = None,
    ) -> dict[str, Any]:
        """Races settings of a model on this device and uses the best from now on. Tells Event.TUNING. Being stopped is no error."""
        return json.loads(
            listened(self._raw.tune, model._raw, options or native.TuneOptions(), cancel, hear=on_event)
        )

    def requantize(
        self,
        options: native.RequantizeOptions,
        *,
        cancel: Optional[native.CancelToken] = None,
        on_event: Optional[Hear] = None,
    ) -> dict[str, Any]:
        """Makes a further variant of the opened bundle, for a thread of the app's own. Tells Event.REQUANTIZING."""
        return json.loads(listened(self._raw.requantize, options, cancel, hear=on_event))

    def close(self) -> None:
        """Closes it; calls that use it go on."""
        self._raw.release()

    def __enter__(self) -> "Runtime":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
