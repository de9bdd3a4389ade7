# ask.py: one question, ten seconds at most. ask.py MODEL QUESTION
import asyncio
import sys

import llama_pajamas as lp


async def answer(session, question):
    messages = [lp.Message(role="system", content="Answer in one sentence."), lp.Message(role="user", content=question)]
    async with session.stream_chat(messages, lp.GenerateOptions(max_tokens=40)) as stream:
        async for piece in stream.texts_async():
            print(piece, end="", flush=True)


async def main(model_path, question):
    with lp.Runtime.open(model_path) as runtime:
        plan = runtime.plan(lp.PlanOptions(memory_cap_bytes=2 << 30))  # the app needs the rest
        if plan.chosen is None:
            sys.exit("; ".join(reason.text for reason in plan.why))
        # What blocks goes to a thread.
        model = await asyncio.to_thread(runtime.load, lp.PlanOptions(memory_cap_bytes=2 << 30))
        with model, model.session() as session:
            try:
                await asyncio.wait_for(answer(session, question), timeout=10)
            except asyncio.TimeoutError:
                print(" …", end="")  # the answer is cancelled, the session is free again
            print("\n(done)")


asyncio.run(main(*sys.argv[1:]))
