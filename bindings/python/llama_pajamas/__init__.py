"""Llama Pajamas: a runtime for language models on this device.

    import llama_pajamas as lp

    with lp.Runtime.open("story.bundle") as runtime, runtime.load() as model, model.session() as session:
        with session.stream("Once upon a time", lp.GenerateOptions(max_tokens=40)) as stream:
            for text in stream.texts():
                print(text, end="", flush=True)

- Objects that are opened have ``close()``, which may be called twice, and are context managers. One that is closed raises Error with
  ErrorCode.INVALID_ARGUMENT.
- Calls release the interpreter's lock: other threads go on. Sessions take one call at a time, everything else any number.
- Callbacks get Event objects; one that returns False stops the call, and what it raises comes out of the call.
- Options are keyword arguments of their classes; what is left out is the library's default.
"""

from ._native import (
    AdapterUse,
    CancelToken,
    Choice,
    EmbedOptions,
    ErrorCode,
    Event,
    GenerateOptions,
    Heat,
    LogLevel,
    MemoryLevel,
    Message,
    Plan,
    PlanOptions,
    Pooling,
    Power,
    PullOptions,
    QuantizeOptions,
    Reason,
    Rejection,
    RequantizeOptions,
    RuntimeOptions,
    SessionOptions,
    Signals,
    StopReason,
    TuneOptions,
    Usage,
    WhenFull,
)
from .error import Error
from .model import Adapter, Embedder, Model, Watch
from .process import (
    abi_version,
    host_report,
    library_version,
    live_objects,
    pull_bundle,
    quantize,
    set_log,
    set_metrics,
    verify_bundle,
)
from .runtime import Runtime
from .session import Session
from .stream import Stream

__version__ = library_version()

__all__ = [name for name in dir() if not name.startswith("_")] + ["__version__"]
