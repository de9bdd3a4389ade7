# character.py: makes up a character as JSON. character.py MODEL
import json
import sys

import llama_pajamas as lp

schema = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "brave"],
    "properties": {"name": {"enum": ["Lily", "Tom", "Spot"]}, "brave": {"type": "boolean"}},
}
options = lp.GenerateOptions(max_tokens=60, temperature=0, json_schema=json.dumps(schema))
with lp.Runtime.open(sys.argv[1]) as runtime, runtime.load() as model, model.session() as session:
    pieces = []

    def hear(event):
        if isinstance(event, lp.Event.TEXT):
            pieces.append(event.text)

    try:
        session.generate("The hero of the story: ", options, on_event=hear)
        print(json.loads("".join(pieces)))
    except lp.Error as error:
        sys.exit(f"{error.code.name}: {error}")
