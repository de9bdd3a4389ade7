# chat.py: a conversation on a terminal. Ctrl-C stops an answer, the end of the input the program. chat.py MODEL
import signal
import sys

import llama_pajamas as lp

cancel = lp.CancelToken()
signal.signal(signal.SIGINT, lambda *_: cancel.cancel())
options = lp.SessionOptions(when_full=lp.WhenFull.SHIFT)  # a long conversation loses its older half
messages = [lp.Message(role="system", content="You are a friendly companion. Answer in a few sentences.")]

with lp.Runtime.open(sys.argv[1]) as runtime, runtime.load() as model, model.session(options) as session:
    while True:
        try:
            line = input("> ")
        except EOFError:
            break
        if not line:
            continue
        messages.append(lp.Message(role="user", content=line))
        answer = []

        def hear(event):
            if isinstance(event, lp.Event.TEXT):
                answer.append(event.text)
                print(event.text, end="", flush=True)

        cancel = lp.CancelToken()  # a Ctrl-C at the prompt was for nothing
        # The whole conversation is handed in; what the session computed already is not computed again.
        session.chat(messages, lp.GenerateOptions(max_tokens=256), cancel=cancel, on_event=hear)
        print()
        messages.append(lp.Message(role="assistant", content="".join(answer)))
