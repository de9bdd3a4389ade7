# tell.py: goes on with a text. tell.py MODEL TEXT
import sys

import llama_pajamas as lp

model_path, text = sys.argv[1:]
with lp.Runtime.open(model_path) as runtime, runtime.load() as model, model.session() as session:
    with session.stream(text, lp.GenerateOptions(max_tokens=40, seed=1)) as stream:
        for piece in stream.texts():
            print(piece, end="", flush=True)
    print(f"\n({stream.usage.completion_tokens} tokens)")
