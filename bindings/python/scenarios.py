"""Runs the table of scenarios through the Python package: ``scenarios.py TABLE FILES``, as every language's program does.

Prints scenario, step and outcome of every line. What Python's types do not let happen (an object that was never opened, an unknown
member of an enum) is told as the error that other languages get.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Optional

import llama_pajamas as lp
from llama_pajamas import _native

SAMPLE = (
    "Once upon a time there was a little girl who lived in a small house near the forest. One day she went out "
    "to play with her friend Tom. They ran and jumped and laughed in the sun. Then it was time to go home. Her "
    "mum was happy to see her and gave her a big hug and a red apple. She ate it and went to bed."
)
REASONS = {
    lp.StopReason.END_OF_TURN: "end_of_turn",
    lp.StopReason.STOP_TEXT: "stop_text",
    lp.StopReason.MAX_TOKENS: "max_tokens",
    lp.StopReason.CONTEXT: "context",
    lp.StopReason.CANCELLED: "cancelled",
}


class Refused(Exception):
    """What the types do not let happen."""


class Line:
    def __init__(self, text: str) -> None:
        self.scenario, self.step, *cells = text.split("\t")
        self.arguments = [
            (name, value.replace("\\n", "\n"))
            for name, _, value in (cell.partition("=") for cell in cells if not cell.startswith("=> "))
        ]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.arguments if key == name]

    def text(self, name: str) -> Optional[str]:
        return next(iter(self.all(name)), None)

    def number(self, name: str, missing: float = 0.0) -> float:
        text = self.text(name)
        return missing if text is None else float(text)

    def given(self, name: str) -> Optional[int]:
        return int(self.number(name)) or None

    @property
    def prompt(self) -> str:
        text = self.text("prompt")
        if text is None:
            raise Refused
        return text * int(self.number("times", 1))


class Heard:
    def __init__(self) -> None:
        self.text, self.n_tokens, self.n_logprobs = "", 0, 0

    def hear(self, event: lp.Event) -> None:
        if isinstance(event, lp.Event.TOKEN):
            self.n_tokens += 1
        elif isinstance(event, lp.Event.TEXT):
            self.text += event.text
        elif isinstance(event, lp.Event.LOGPROBS):
            self.n_logprobs += 1

    def answer(self, usage: lp.Usage) -> str:
        logprobs = f" logprobs={self.n_logprobs}" if self.n_logprobs else ""
        return (
            f"stop={REASONS[usage.stop_reason]} completion={usage.completion_tokens} prompt={usage.prompt_tokens}"
            f" reused={usage.reused_tokens}{logprobs} text={quoted(self.text)}"
        )


def quoted(text: str) -> str:
    escaped = text.replace("\n", "\\n").replace("\t", "\\t").replace('"', '\\"')
    return f'"{escaped}"'


class Scenario:
    """The objects of a scenario, and its steps."""

    def __init__(self, files: Path) -> None:
        self.files = files
        self.objects: dict[str, Any] = {}
        self.state = b""

    def of(self, name: str) -> Any:
        if name not in self.objects:
            raise Refused
        return self.objects[name]

    def put(self, name: str, value: Any) -> str:
        self.objects[name] = value
        return "ok"

    def path(self, line: Line, name: str = "path") -> Path:
        return self.files / (line.text(name) or "")

    def run(self, line: Line) -> str:
        cancel = lp.CancelToken()
        if line.text("cancel") == "before":
            cancel.cancel()
        try:
            return getattr(self, "do_" + line.step)(line, cancel)
        except Refused:
            return 'error invalid_argument {"code":"invalid_argument"}'
        except lp.Error as error:
            assert error.code.name.lower() == error.details["code"], error.details_json
            return f"error {error.details['code']} {error.details_json}"

    def close(self) -> None:
        for value in self.objects.values():
            value.close()

    def do_versions(self, line: Line, cancel: lp.CancelToken) -> str:
        return f"abi={lp.abi_version()} library={lp.library_version()}"

    def do_host(self, line: Line, cancel: lp.CancelToken) -> str:
        return "ok" if "cpu" in lp.host_report()["host"] else "no processor"

    def do_open(self, line: Line, cancel: lp.CancelToken) -> str:
        options = lp.RuntimeOptions(cpu_variant=line.text("cpu_variant"))
        return self.put("runtime", lp.Runtime.open(self.path(line), options))

    def do_describe(self, line: Line, cancel: lp.CancelToken) -> str:
        variants = self.of("runtime").describe()["variants"]
        return f"variants={len(variants)} first={variants[0]['id']}"

    def do_verify(self, line: Line, cancel: lp.CancelToken) -> str:
        return f"ok files={lp.verify_bundle(self.path(line), cancel=cancel)['files']}"

    def do_pull(self, line: Line, cancel: lp.CancelToken) -> str:
        lp.pull_bundle(line.text("url") or "", self.path(line, "to"), cancel=cancel)
        return "ok"

    def plan_options(self, line: Line) -> lp.PlanOptions:
        return lp.PlanOptions(
            context_tokens=line.given("context"),
            memory_budget_bytes=line.given("budget"),
            memory_cap_bytes=line.given("cap"),
            n_threads=line.given("threads"),
            variant=line.text("variant"),
        )

    def do_plan(self, line: Line, cancel: lp.CancelToken) -> str:
        plan = self.of("runtime").plan(self.plan_options(line))
        assert (json.loads(plan.json)["chosen"] is None) == (plan.chosen is None)
        return f"chosen={plan.chosen.id} context={plan.chosen.context_tokens}" if plan.chosen else "chosen=none"

    def do_load(self, line: Line, cancel: lp.CancelToken) -> str:
        stops = line.text("break") is not None
        runtime = self.of("runtime")
        options = self.plan_options(line)
        return self.put("model", runtime.load(options, cancel=cancel, on_event=lambda event: not stops))

    def do_describe_model(self, line: Line, cancel: lp.CancelToken) -> str:
        told = self.of("model").describe()
        decodes = "yes" if told["is_decoder"] else "no"
        return f"chosen={told['choice']['id']} decoder={decodes} vocabulary={told['n_vocab']}"

    def do_tokenize(self, line: Line, cancel: lp.CancelToken) -> str:
        tokens = self.of("model").tokenize(line.text("text") or "")
        return f"n={len(tokens)} tokens={','.join(map(str, tokens))}"

    def do_detokenize(self, line: Line, cancel: lp.CancelToken) -> str:
        tokens = [int(token) for token in (line.text("tokens") or "").split(",")]
        return f"text={quoted(self.of('model').detokenize(tokens))}"

    def do_session(self, line: Line, cancel: lp.CancelToken) -> str:
        wishes = [None, lp.WhenFull.SHIFT, lp.WhenFull.GROW]
        wish = int(line.number("when_full"))
        if wish >= len(wishes):
            raise Refused
        options = lp.SessionOptions(context_tokens=line.given("context"), when_full=wishes[wish])
        return self.put("session", self.of("model").session(options))

    def generate_options(self, line: Line) -> lp.GenerateOptions:
        adapters = []
        if line.text("adapter") is not None:
            adapters.append(self.of("adapter").use(line.number("adapter")))
        logprobs = line.number("logprobs", -1)
        return lp.GenerateOptions(
            max_tokens=int(line.number("max", 512)),
            temperature=line.number("temperature"),
            top_p=None if line.text("top_p") is None else line.number("top_p"),
            seed=line.given("seed"),
            stop=line.all("stop"),
            json_schema=line.text("schema"),
            regex=line.text("regex"),
            grammar=line.text("grammar"),
            adapters=adapters,
            ignore_end_of_turn=line.number("ignore_end") != 0,
            top_logprobs=None if logprobs < 0 else int(logprobs),
        )

    def messages(self, line: Line) -> list[lp.Message]:
        roles = ("system", "user", "assistant")
        return [lp.Message(role=name, content=value) for name, value in line.arguments if name in roles]

    def do_generate(self, line: Line, cancel: lp.CancelToken) -> str:
        session, options, how = self.of("session"), self.generate_options(line), line.text("cancel") or ""
        heard, first = Heard(), threading.Event()
        cancel_at, break_at = int(how) if how.isdigit() else 0, int(line.number("break"))

        def raise_it() -> None:
            first.wait()
            cancel.cancel()

        other = threading.Thread(target=raise_it)
        if how == "thread":
            other.start()

        def hear(event: lp.Event) -> Optional[bool]:
            heard.hear(event)
            if isinstance(event, lp.Event.TOKEN):
                first.set()
                if heard.n_tokens == cancel_at:
                    cancel.cancel()
                return heard.n_tokens != break_at
            return None

        if line.step == "chat":
            usage = session.chat(self.messages(line), options, cancel=cancel, on_event=hear)
        else:
            usage = session.generate(line.prompt, options, cancel=cancel, on_event=hear)
        if how == "thread":
            other.join()
            return f"stop={REASONS[usage.stop_reason]}"
        return heard.answer(usage)

    do_chat = do_generate

    def do_stream(self, line: Line, cancel: lp.CancelToken) -> str:
        session, options, heard = self.of("session"), self.generate_options(line), Heard()
        cancel_at, drop_at = int(line.number("cancel")), int(line.number("drop"))
        opened = session.stream_chat(self.messages(line), options) if line.step == "stream_chat" else session.stream(line.prompt, options)
        with opened as stream:
            if line.text("poll") is not None:
                while stream.usage is None:
                    event = stream.next(0)
                    if event is not None:
                        heard.hear(event)
            elif line.step == "stream_chat":
                asyncio.run(hear_all(stream, heard))
            else:
                for event in stream:
                    heard.hear(event)
                    if isinstance(event, lp.Event.TOKEN):
                        if heard.n_tokens == cancel_at:
                            stream.cancel()
                        if heard.n_tokens == drop_at:
                            return "dropped"
            usage = stream.usage
        assert usage is not None
        return f"stop={REASONS[usage.stop_reason]}" if cancel_at else heard.answer(usage)

    do_stream_chat = do_stream

    def do_threads(self, line: Line, cancel: lp.CancelToken) -> str:
        model, count = self.of("model"), int(line.number("n", 2))

        def work(_: int) -> str:
            heard = Heard()
            with model.session() as session:
                session.generate(line.prompt, self.generate_options(line), on_event=heard.hear)
            return heard.text

        with ThreadPoolExecutor(count) as pool:
            texts = list(pool.map(work, range(count)))
        same = "yes" if len(set(texts)) == 1 else "no"
        return f"threads={count} same={same} text={quoted(texts[0])}"

    def do_save(self, line: Line, cancel: lp.CancelToken) -> str:
        self.state = self.of("session").save()
        return f"ok bytes={len(self.state)}"

    def do_restore(self, line: Line, cancel: lp.CancelToken) -> str:
        text = line.text("bytes")
        self.of("session").restore(self.state if text is None else text.encode())
        return "ok"

    def do_fork(self, line: Line, cancel: lp.CancelToken) -> str:
        return self.put("session", self.of("session").fork())

    def do_adapter(self, line: Line, cancel: lp.CancelToken) -> str:
        return self.put("adapter", self.of("model").load_adapter(self.path(line)))

    def do_embedder(self, line: Line, cancel: lp.CancelToken) -> str:
        return self.put("embedder", self.of("model").embedder(lp.EmbedOptions(max_tokens=line.given("max"))))

    def do_embed(self, line: Line, cancel: lp.CancelToken) -> str:
        values = self.of("embedder").embed(line.text("text") or "", cancel=cancel)
        length = math.sqrt(sum(value * value for value in values))
        return f"n={len(values)} length={length:.2f} first={values[0]:.4f}"

    def do_report(self, line: Line, cancel: lp.CancelToken) -> str:
        heat = int(line.number("heat"))
        if heat not in [known.value for known in lp.Heat]:
            raise Refused
        return f"changes={len(self.of('model').report(lp.Signals(heat=lp.Heat(heat))))}"

    def do_watch(self, line: Line, cancel: lp.CancelToken) -> str:
        with self.of("model").watch(1.0, lambda change: None):
            return "ok"

    def do_tune(self, line: Line, cancel: lp.CancelToken) -> str:
        options = lp.TuneOptions(budget_s=line.number("budget", 12))
        told = self.of("runtime").tune(self.of("model"), options, cancel=cancel, on_event=lambda event: None)
        return "ok" if "setting" in told else str(told)

    def do_requantize(self, line: Line, cancel: lp.CancelToken) -> str:
        options = lp.RequantizeOptions(
            text=SAMPLE,
            precision=line.text("precision"),
            n_ctx=32,
            max_windows=2,
            max_kld=5.0,
            wait_for_mains=False,
        )
        told = self.of("runtime").requantize(options, cancel=cancel)
        return f"published={told['published']['id']}"

    def do_quantize(self, line: Line, cancel: lp.CancelToken) -> str:
        size = line.given("size")
        options = lp.QuantizeOptions(
            format=line.text("format"),
            precisions=[line.text("precision")] if line.text("precision") else [],
            target_bytes=[size] if size else [],
            allow_requantize=line.given("allow") is not None,
            dry_run=line.given("dry") is not None,
            n_threads=1,
        )
        told = lp.quantize(self.path(line, "model"), self.path(line, "to"), options, cancel=cancel)
        return f"made={told['variants'][0]['id']}"

    def do_close(self, line: Line, cancel: lp.CancelToken) -> str:
        self.of(line.text("what") or "runtime").close()
        return "ok"

    def do_panic(self, line: Line, cancel: lp.CancelToken) -> str:
        """A listener of the lower layer that throws, which none may: the library catches what that leads to."""

        class Thrower(_native.Listener):
            def on_event(self, event: lp.Event) -> bool:
                raise ValueError("on purpose")

        try:
            _native.verify_bundle(str(self.files / "bundle"), None, None, Thrower())
        except _native.LlamaPajamasError.Failed as failed:  # type: ignore[attr-defined]
            raise lp.Error(failed.code, failed.reason, failed.details) from None
        return "ok"


async def hear_all(stream: lp.Stream, heard: Heard) -> None:
    async for event in stream:
        heard.hear(event)


def main(table: str, files: str) -> int:
    scenario: Optional[Scenario] = None
    name = ""
    for text in Path(table).read_text(encoding="utf-8").split("\n"):
        if not text or text.startswith("#"):
            continue
        line = Line(text)
        if scenario is None or line.scenario != name:
            if scenario is not None:
                scenario.close()
            scenario, name = Scenario(Path(files)), line.scenario
        print(f"{line.scenario}\t{line.step}\t{scenario.run(line)}", flush=True)
    if scenario is not None:
        scenario.close()
        del scenario
    left = lp.live_objects()
    if left:
        print(f"{left} objects were not freed", file=sys.stderr)
    return 1 if left else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: scenarios.py TABLE FILES")
    sys.exit(main(sys.argv[1], sys.argv[2]))
