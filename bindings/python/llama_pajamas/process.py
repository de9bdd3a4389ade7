"""What belongs to the process: versions, the device, bundles, log and figures."""

from __future__ import annotations

import json
import os
from typing import Any, Callable, Optional, Union

from . import _native as native
from ._native import abi_version, library_version, live_objects
from .error import Hear, call, listened

Path = Union[str, "os.PathLike[str]"]

__all__ = [
    "abi_version", "host_report", "library_version", "live_objects", "pull_bundle", "quantize", "set_log", "set_metrics",
    "verify_bundle",
]


def host_report() -> dict[str, Any]:
    """This device and this library: "library", "features", "cpu_variants", "host"."""
    return json.loads(call(native.host_report))


def verify_bundle(
    path: Path,
    *,
    trust_folder: Optional[Path] = None,
    cancel: Optional[native.CancelToken] = None,
    on_event: Optional[Hear] = None,
) -> dict[str, Any]:
    """Compares every file of a bundle with its manifest; the first damage is raised. Tells Event.TRANSFER."""
    folder = None if trust_folder is None else os.fspath(trust_folder)
    return json.loads(listened(native.verify_bundle, os.fspath(path), folder, cancel, hear=on_event))


def pull_bundle(
    manifest_url: str,
    destination: Path,
    options: Optional[native.PullOptions] = None,
    *,
    cancel: Optional[native.CancelToken] = None,
    on_event: Optional[Hear] = None,
) -> dict[str, Any]:
    """Fetches variants of a bundle into a folder, which stays what it was until every hash is right. Tells Event.TRANSFER."""
    options = options or native.PullOptions()
    return json.loads(
        listened(native.pull_bundle, manifest_url, os.fspath(destination), options, cancel, hear=on_event)
    )


def quantize(
    model: Path,
    output: Path,
    options: Optional[native.QuantizeOptions] = None,
    *,
    cancel: Optional[native.CancelToken] = None,
    on_event: Optional[Hear] = None,
) -> dict[str, Any]:
    """Makes variants of a checkpoint's folder or a GGUF file and publishes them together in the bundle at ``output``. Tells
    Event.QUANTIZING."""
    options = options or native.QuantizeOptions()
    return json.loads(
        listened(native.quantize_model, os.fspath(model), os.fspath(output), options, cancel, hear=on_event)
    )


class _Log(native.LogSink):
    def __init__(self, tell: Callable[[native.LogLevel, str, str], None]) -> None:
        self.tell = tell

    def on_log(self, level: int, target: str, message: str) -> None:
        self.tell(native.LogLevel(level), target, message)


class _Metrics(native.MetricsSink):
    def __init__(self, tell: Callable[[dict[str, Any]], None]) -> None:
        self.tell = tell

    def on_metrics(self, json_text: str) -> None:
        self.tell(json.loads(json_text))


def set_log(level: native.LogLevel, tell: Optional[Callable[[native.LogLevel, str, str], None]]) -> None:
    """Sends log lines up to ``level`` to ``tell(level, target, message)``, on any thread; None: to nobody. Process wide."""
    call(native.set_log, level, None if tell is None else _Log(tell))


def set_metrics(tell: Optional[Callable[[dict[str, Any]], None]]) -> None:
    """Sends figures of every load and answer to ``tell``; None: to nobody. Process wide."""
    call(native.set_metrics, None if tell is None else _Metrics(tell))
