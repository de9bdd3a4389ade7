"""What a token costs in Python: ``bench.py MODEL TOKENS ROUNDS [stream|async]``. Prints, per round, CPU microseconds per token.

``bench.py MODEL first``: seconds from the start of the process to the first token.
"""

import asyncio
import os
import sys
import time

import llama_pajamas as lp


def main(path: str, tokens: str, rounds: str = "1", way: str = "callback") -> None:
    with lp.Runtime.open(path) as runtime:
        with runtime.load(lp.PlanOptions(context_tokens=2048, n_threads=1)) as model, model.session() as session:
            if tokens == "first":
                with session.stream("Once upon a time", lp.GenerateOptions(max_tokens=4, temperature=0)) as stream:
                    next(stream.texts())
                    print(f"{since_start():.2f}")
                return
            options = lp.GenerateOptions(max_tokens=int(tokens), temperature=0, ignore_end_of_turn=True)
            for _ in range(int(rounds)):
                texts, n_tokens = [], 0

                def hear(event: lp.Event) -> None:
                    nonlocal n_tokens
                    if isinstance(event, lp.Event.TOKEN):
                        n_tokens += 1
                    elif isinstance(event, lp.Event.TEXT):
                        texts.append(event.text)

                async def hear_all(stream: lp.Stream) -> None:
                    async for event in stream:
                        hear(event)

                before = time.process_time()
                if way == "callback":
                    session.generate("Once upon a time", options, on_event=hear)
                else:
                    with session.stream("Once upon a time", options) as stream:
                        if way == "async":
                            asyncio.run(hear_all(stream))
                        else:
                            for event in stream:
                                hear(event)
                print(f"{(time.process_time() - before) * 1e6 / n_tokens:.3f}")


def since_start() -> float:
    """Seconds since this process began (Linux)."""
    with open("/proc/self/stat", encoding="ascii") as stat, open("/proc/uptime", encoding="ascii") as uptime:
        began = int(stat.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return float(uptime.read().split()[0]) - began


if __name__ == "__main__":
    main(*sys.argv[1:])
