"""Renders chat templates as transformers does: chat_templates.py OUT TEMPLATE…

OUT gets a JSON list: for every template and conversation the input and what transformers makes of it, or its error.
"""
import datetime
import json
import pathlib
import sys

import transformers.utils.chat_template_utils as utils


class Now(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2026, 2, 3, 12, 34, 56)


utils.datetime = Now
TOOLS = [
    {"type": "function", "function": {
        "name": "get_weather", "description": "Tells the weather of a \"city\" – today's.",
        "parameters": {"type": "object", "properties": {
            "city": {"type": "string", "description": "Name of the city"},
            "days": {"type": "integer", "description": "How many days", "enum": [1, 3]},
            "exact": {"type": "boolean", "description": "Übergenau <b>"}},
            "required": ["city"]}}},
    {"type": "function", "function": {
        "name": "roll", "description": "Rolls dice.", "parameters": {"type": "object", "properties": {}}}},
]
SYSTEM = {"role": "system", "content": "You are terse.\nAlways."}
HELLO = {"role": "user", "content": "Hello, who are you?"}
ANSWER = {"role": "assistant", "content": "A llama."}
ASK = {"role": "user", "content": "  What is the weather in Paris & Rome?  \n"}
CALL = {"role": "assistant", "content": "", "tool_calls": [
    {"id": "call12345", "type": "function",
     "function": {"name": "get_weather", "arguments": {"city": "Paris", "days": 3, "exact": True}}}]}
RESULT = {"role": "tool", "name": "get_weather", "tool_call_id": "call12345", "content": "{\"sky\": \"clear\", \"t\": 21.5}"}
CONVERSATIONS = [
    ([HELLO], [], True, {}),
    ([SYSTEM, HELLO], [], True, {}),
    ([SYSTEM, HELLO, ANSWER, ASK], [], True, {}),
    ([HELLO, ANSWER], [], False, {}),
    ([HELLO], [], True, {"enable_thinking": False}),
    ([HELLO], [], True, {"enable_thinking": True}),
    ([ASK], TOOLS, True, {}),
    ([SYSTEM, ASK], TOOLS, True, {}),
    ([SYSTEM, ASK, CALL, RESULT], TOOLS, True, {}),
    ([ASK, CALL, RESULT, ANSWER, HELLO], TOOLS, True, {}),
    ([HELLO, {"role": "assistant", "content": "Yes.", "reasoning_content": "Well."}, ASK], [], True, {}),
]


def main():
    cases = []
    for path in sys.argv[2:]:
        source = pathlib.Path(path).read_text()
        for messages, tools, add_generation_prompt, variables in CONVERSATIONS:
            case = {"template": path, "messages": messages, "tools": tools,
                    "add_generation_prompt": add_generation_prompt, "variables": variables}
            try:
                rendered, _ = utils.render_jinja_template(
                    conversations=[messages], tools=tools or None, documents=None, chat_template=source,
                    add_generation_prompt=add_generation_prompt, bos_token="<s>", eos_token="</s>", **variables)
                case["expected"] = rendered[0]
            except Exception as error:  # what transformers refuses we may refuse too
                case["error"] = f"{type(error).__name__}: {error}"
            cases.append(case)
    pathlib.Path(sys.argv[1]).write_text(json.dumps(cases))


main()
