// OpenAI's own JavaScript client against a server: openai_client.mjs CLIENTS_FOLDER BASE_URL KEY MODEL
// Every check prints a line; the first that fails ends the program.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const [folder, baseURL, apiKey, model] = process.argv.slice(2);
const { OpenAI } = createRequire(folder + "/")("openai");
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 120_000 });
const messages = [{ role: "user", content: "Tell me a story." }];
const parameters = { type: "object", additionalProperties: false, required: ["city", "days"], properties: {
  city: { type: "string", maxLength: 12 }, days: { type: "integer", minimum: 1, maximum: 9 } } };
const tool = { type: "function", function: { name: "get_weather", parameters } };
const chat = (more = {}) => client.chat.completions.create({ model, messages, max_tokens: 24, temperature: 0, ...more });
const isCall = (text) => {
  const { city, days } = JSON.parse(text);
  return typeof city === "string" && city.length <= 12 && Number.isInteger(days) && days >= 1 && days <= 9;
};

const checks = {
  async models() {
    assert.ok((await client.models.list()).data.some((one) => one.id === model));
  },
  async chat() {
    const answer = await chat();
    let text = "", usage = null;
    for await (const piece of await chat({ stream: true, stream_options: { include_usage: true } })) {
      text += piece.choices[0]?.delta?.content ?? "";
      usage = piece.usage ?? usage;
    }
    assert.equal(text, answer.choices[0].message.content);
    assert.equal(usage.completion_tokens, answer.usage.completion_tokens);
  },
  async logprobs() {
    const answer = await chat({ logprobs: true, top_logprobs: 3 });
    assert.equal(answer.choices[0].logprobs.content.length, 24);
    assert.equal(answer.choices[0].logprobs.content[0].top_logprobs.length, 3);
  },
  async tools() {
    const answer = await chat({ tools: [tool], tool_choice: "required", max_tokens: 200 });
    assert.equal(answer.choices[0].finish_reason, "tool_calls");
    assert.ok(isCall(answer.choices[0].message.tool_calls[0].function.arguments));
    let text = "";
    for await (const piece of await chat({ tools: [tool], tool_choice: "required", max_tokens: 200, stream: true })) {
      text += piece.choices[0]?.delta?.tool_calls?.[0]?.function?.arguments ?? "";
    }
    assert.ok(isCall(text));
  },
  async forms() {
    const schema = { type: "object", additionalProperties: false, required: ["ok"], properties: { ok: { type: "boolean" } } };
    const answer = await chat({ response_format: { type: "json_schema", json_schema: { name: "x", schema } } });
    assert.equal(typeof JSON.parse(answer.choices[0].message.content).ok, "boolean");
  },
  async completions() {
    const answer = await client.completions.create({ model, prompt: "Once", max_tokens: 4, temperature: 0 });
    assert.ok(answer.choices[0].text.length > 0);
  },
  async responses() {
    const answer = await client.responses.create({ model, input: "Tell me a story.", max_output_tokens: 16, temperature: 0 });
    let text = "";
    for await (const event of await client.responses.create({ model, input: "Tell me a story.", max_output_tokens: 16, temperature: 0, stream: true })) {
      if (event.type === "response.output_text.delta") text += event.delta;
    }
    assert.equal(text, answer.output_text);
  },
  async embeddings() {
    const vectors = await client.embeddings.create({ model, input: ["a llama", "in pajamas"] });
    const length = vectors.data[0].embedding.reduce((sum, x) => sum + x * x, 0);
    assert.ok(Math.abs(length - 1) < 1e-4);
  },
  async errors() {
    await assert.rejects(chat({ model: "other" }), OpenAI.NotFoundError);
    await assert.rejects(chat({ temperature: -1 }), OpenAI.BadRequestError);
    const stranger = new OpenAI({ baseURL, apiKey: "other", maxRetries: 0 });
    await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
  },
  async cancelling() {
    const stream = await chat({ stream: true, max_tokens: 1900, temperature: 1, ignore_eos: true });
    let n = 0;
    for await (const _ of stream) if (++n === 3) break;
    const begin = Date.now();
    for (;;) {
      const answer = await fetch(new URL("/metrics", baseURL), { headers: { authorization: `Bearer ${apiKey}` } });
      const busy = (await answer.text()).match(/^llama_pajamas_sequences_busy\{.*\} (\d+)$/m)[1];
      if (busy === "0") break;
      assert.ok(Date.now() - begin < 10_000, "still at work");
    }
  },
};

for (const [name, check] of Object.entries(checks)) {
  await check();
  console.log("ok", name);
}
