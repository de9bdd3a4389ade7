"""OpenAI's own Python client against a server: openai_client.py BASE_URL KEY MODEL SCHEMA

Every check prints a line; the first that fails ends the program. SCHEMA is a JSON schema with a definition for every kind
of object that the server answers with; each answer's own text is held to it beside what the client makes of it.
"""
import json
import math
import sys
import time
import urllib.request

import jsonschema
import openai

base_url, key, model, schema_path = sys.argv[1:5]
client = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=120)
schema = json.load(open(schema_path))
ASK = [{"role": "user", "content": "Tell me a story."}]
TOOL = {"type": "function", "function": {"name": "get_weather", "description": "Tells the weather.", "parameters": {
    "type": "object", "additionalProperties": False, "required": ["city", "days"], "properties": {
        "city": {"type": "string", "maxLength": 12}, "days": {"type": "integer", "minimum": 1, "maximum": 9}}}}}
FORM = {"type": "object", "additionalProperties": False, "required": ["name", "age"], "properties": {
    "name": {"type": "string", "maxLength": 10}, "age": {"type": "integer", "minimum": 0, "maximum": 99}}}


def held_to(kind, value):
    jsonschema.validate(value, {"$ref": "#/$defs/" + kind, "$defs": schema["$defs"]})


def raw(path, body=None, key_shown=key):
    request = urllib.request.Request(base_url.removesuffix("/v1") + path, data=None if body is None else json.dumps(body).encode(),
                                     headers={"authorization": "Bearer " + key_shown, "content-type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return answer.read().decode()


def events(path, body):
    lines = raw(path, body | {"stream": True}).split("\n")
    return [json.loads(line[6:]) for line in lines if line.startswith("data: ") and line != "data: [DONE]"]


def chat(**more):
    return client.chat.completions.create(**{"model": model, "messages": ASK, "max_tokens": 24, "temperature": 0} | more)


def check_models():
    assert model in [one.id for one in client.models.list().data]
    assert client.models.retrieve(model).id == model
    held_to("models", json.loads(raw("/v1/models")))


def check_chat():
    answer = chat()
    assert answer.choices[0].message.content and answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 24
    pieces = list(chat(stream=True, stream_options={"include_usage": True}))
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    assert text == answer.choices[0].message.content, (text, answer)
    assert pieces[-1].usage.completion_tokens == 24 and pieces[-2].choices[0].finish_reason == "length"
    body = {"model": model, "messages": ASK, "max_tokens": 5, "logprobs": True, "top_logprobs": 2}
    held_to("chat_completion", json.loads(raw("/v1/chat/completions", body)))
    for event in events("/v1/chat/completions", body | {"stream_options": {"include_usage": True}}):
        held_to("chat_chunk", event)


def check_choices_and_seeds():
    first, second = (chat(n=3, temperature=1.0, seed=7) for _ in range(2))
    texts = [choice.message.content for choice in first.choices]
    assert texts == [choice.message.content for choice in second.choices] and len(set(texts)) > 1, texts
    stopped = chat(stop=["e"], max_tokens=200)
    assert "e" not in stopped.choices[0].message.content and stopped.choices[0].finish_reason == "stop"
    biased = chat(logit_bias={"300": 100}, max_tokens=3, logprobs=True)
    assert len({token.token for token in biased.choices[0].logprobs.content}) == 1


def check_logprobs():
    answer = chat(logprobs=True, top_logprobs=5)
    content = answer.choices[0].logprobs.content
    assert len(content) == 24
    for token in content:
        assert token.top_logprobs[0].logprob >= token.logprob - 1e-6 and len(token.top_logprobs) == 5
        assert token.token == token.top_logprobs[0].token, "the likeliest is taken at temperature 0"
        assert sum(math.exp(one.logprob) for one in token.top_logprobs) <= 1 + 1e-4
    text = b"".join(bytes(token.bytes) for token in content).decode(errors="replace")
    assert text.strip() == answer.choices[0].message.content.strip()
    streamed = [token for piece in chat(stream=True, logprobs=True) for choice in piece.choices if choice.logprobs
                for token in choice.logprobs.content]
    assert [token.token for token in streamed] == [token.token for token in content]


def check_tools():
    for choice in ("required", {"type": "function", "function": {"name": "get_weather"}}):
        answer = chat(tools=[TOOL], tool_choice=choice, max_tokens=200, temperature=1.0)
        call = answer.choices[0].message.tool_calls[0]
        assert answer.choices[0].finish_reason == "tool_calls" and call.function.name == "get_weather" and call.id
        jsonschema.validate(json.loads(call.function.arguments), TOOL["function"]["parameters"])
    calls = [call for piece in chat(tools=[TOOL], tool_choice="required", max_tokens=200, stream=True)
             for choice in piece.choices for call in choice.delta.tool_calls or []]
    jsonschema.validate(json.loads("".join(call.function.arguments for call in calls)), TOOL["function"]["parameters"])
    after = ASK + [{"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {
        "name": "get_weather", "arguments": "{\"city\": \"Paris\", \"days\": 1}"}}]}, {"role": "tool", "tool_call_id": "a", "content": "sunny"}]
    assert chat(messages=after, tools=[TOOL], tool_choice="none").choices[0].message.content
    body = {"model": model, "messages": ASK, "tools": [TOOL], "tool_choice": "required", "max_tokens": 200}
    held_to("chat_completion", json.loads(raw("/v1/chat/completions", body)))


def check_forms():
    form = {"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": FORM}}
    for seed in range(5):
        answer = chat(response_format=form, max_tokens=100, temperature=1.0, seed=seed)
        assert answer.choices[0].finish_reason == "stop"
        jsonschema.validate(json.loads(answer.choices[0].message.content), FORM)
    both = chat(response_format=form, tools=[TOOL], tool_choice="required", max_tokens=200)
    assert both.choices[0].message.tool_calls
    text = chat(extra_body={"regex": "(yes|no), [0-9]{3}"}).choices[0].message.content
    assert text.split(", ")[0] in ("yes", "no") and len(text.split(", ")[1]) == 3, text
    text = chat(extra_body={"grammar": "start: \"a\" b\nb: \"b\"{2,3} \"c\""}).choices[0].message.content
    assert text in ("abbc", "abbbc"), text


def check_completions():
    asked = {"model": model, "prompt": "Once upon a time", "max_tokens": 12, "temperature": 0}
    answer = client.completions.create(**asked, logprobs=2, echo=True)
    assert answer.choices[0].text.startswith("Once upon a time") and len(answer.choices[0].logprobs.tokens) == 12
    streamed = "".join(piece.choices[0].text for piece in client.completions.create(**asked, stream=True))
    assert "Once upon a time" + streamed == answer.choices[0].text
    held_to("text_completion", json.loads(raw("/v1/completions", asked | {"logprobs": 2})))
    for event in events("/v1/completions", asked):
        held_to("text_completion", event)


def check_responses():
    answer = client.responses.create(model=model, input="Tell me a story.", max_output_tokens=16, temperature=0)
    assert answer.output_text and answer.status == "incomplete" and answer.usage.output_tokens == 16
    kinds, text = [], ""
    for event in client.responses.create(model=model, input="Tell me a story.", max_output_tokens=16, temperature=0, stream=True):
        kinds.append(event.type)
        text += event.delta if event.type == "response.output_text.delta" else ""
    assert text == answer.output_text and kinds[0] == "response.created" and kinds[-1] == "response.incomplete", kinds
    tool = {"type": "function"} | TOOL["function"]
    called = client.responses.create(model=model, input=ASK, tools=[tool], tool_choice="required", max_output_tokens=200)
    call = next(item for item in called.output if item.type == "function_call")
    jsonschema.validate(json.loads(call.arguments), TOOL["function"]["parameters"])
    formed = client.responses.create(model=model, input="A person?", max_output_tokens=100,
                                     text={"format": {"type": "json_schema", "name": "person", "schema": FORM}})
    jsonschema.validate(json.loads(formed.output_text), FORM)
    body = {"model": model, "input": "hi", "max_output_tokens": 4}
    held_to("response", json.loads(raw("/v1/responses", body)))
    for event in events("/v1/responses", body):
        held_to("response_event", event)


def check_embeddings():
    vectors = client.embeddings.create(model=model, input=["a llama", "in pajamas"])
    assert len(vectors.data) == 2 and vectors.usage.prompt_tokens > 2
    for vector in vectors.data:
        assert abs(sum(x * x for x in vector.embedding) - 1) < 1e-4
    plain = client.embeddings.create(model=model, input="a llama", encoding_format="float")
    assert max(abs(a - b) for a, b in zip(plain.data[0].embedding, vectors.data[0].embedding)) < 1e-5
    assert len(client.embeddings.create(model=model, input="a", dimensions=8).data[0].embedding) == 8
    held_to("embeddings", json.loads(raw("/v1/embeddings", {"model": model, "input": "a"})))


def check_errors():
    def fails(kind, call):
        try:
            call()
        except kind as error:
            held_to("error", error.response.json())
            return
        raise AssertionError(f"no {kind.__name__}")

    fails(openai.NotFoundError, lambda: chat(model="other"))
    fails(openai.BadRequestError, lambda: chat(temperature=-1))
    fails(openai.BadRequestError, lambda: chat(messages=[]))
    fails(openai.BadRequestError, lambda: chat(messages=[{"role": "user", "content": "word " * 9000}]))
    fails(openai.BadRequestError, lambda: chat(tool_choice="required"))
    fails(openai.BadRequestError, lambda: chat(response_format={"type": "json_schema", "json_schema": {
        "name": "x", "schema": {"type": "nothing"}}}))
    stranger = client.with_options(api_key="other")
    fails(openai.AuthenticationError, lambda: stranger.models.list())


def check_cancelling():
    def busy():
        lines = raw("/metrics").split("\n")
        return sum(float(line.split()[-1]) for line in lines if line.startswith("llama_pajamas_sequences_busy{"))

    stream = chat(stream=True, max_tokens=1900, temperature=1.0, extra_body={"ignore_eos": True})
    for _ in range(3):
        next(stream)
    stream.close()
    begin = time.monotonic()
    while busy() > 0:
        assert time.monotonic() - begin < 10, "still at work"
        time.sleep(0.01)


for name, check in list(globals().items()):
    if name.startswith("check_"):
        check()
        print("ok", name.removeprefix("check_"))
