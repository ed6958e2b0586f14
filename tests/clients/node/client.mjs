// The OpenAI SDK for Node against a running product; what it saw goes to standard output as JSON.
import OpenAI, { toFile } from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const { BASE_URL: baseURL, API_KEY: apiKey, LIMITED_KEY: limitedKey } = process.env;
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const asking = (content) => ({ model: "budgie", messages: [{ role: "user", content }], temperature: 0 });
const person = "Extract name and age as JSON: Mia is 7 years old.";
const tool = (name, parameter) => ({
  type: "function",
  function: {
    name,
    parameters: { type: "object", properties: { [parameter]: { type: "string" } }, required: [parameter] },
  },
});
const tools = [tool("get_weather", "city"), tool("get_order", "order_id")];
const told = (error) => ({
  class: error.constructor.name, status: error.status, code: error.code, param: error.param, type: error.type,
});
const refused = async (promise) => {
  try {
    await promise;
  } catch (error) {
    return told(error);
  }
  return "no error";
};

const chat = await client.chat.completions.create({ ...asking("Count from 1 to 9."), max_tokens: 48 });

let streamed = "";
let usage = null;
const stream = await client.chat.completions.create({
  ...asking("Count from 1 to 9."), max_tokens: 48, stream: true, stream_options: { include_usage: true },
});
for await (const chunk of stream) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}

const weather = { ...asking("What is the weather in Oslo?"), tools, max_tokens: 64 };
const auto = await client.chat.completions.create(weather);
const forced = await client.chat.completions.create({
  ...weather, tool_choice: { type: "function", function: { name: "get_order" } },
});
const called = await client.chat.completions.stream(weather).finalChatCompletion();

const parsed = await client.chat.completions.parse({
  ...asking(person),
  max_tokens: 96,
  response_format: zodResponseFormat(z.object({ name: z.string().max(12), age: z.int() }), "person"),
});

const many = await client.chat.completions.create({
  ...asking("Hello!"), n: 2, logprobs: true, top_logprobs: 2, max_tokens: 4,
});
const legacy = await client.completions.create({
  model: "budgie", prompt: ["One two", "Red blue"], echo: true, max_tokens: 4,
});
const bound = await client.chat.completions.create({
  ...asking("Hello!"), structured_outputs: { choice: ["left", "right"] }, max_tokens: 8,
});

const texts = ["one", "two"];
const embedded = await client.embeddings.create({ model: "all-MiniLM-L6-v2", input: texts });
const floats = await client.embeddings.create({
  model: "all-MiniLM-L6-v2", input: texts, encoding_format: "float",
});

const models = [];
for await (const model of client.models.list()) models.push(model.id);

const lines = '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n';
const file = await client.files.create({ file: await toFile(Buffer.from(lines), "a.jsonl"), purpose: "fine-tune" });
const files = [];
for await (const found of client.files.list()) files.push(found.id);
const content = await (await client.files.content(file.id)).text();
const jobs = await client.fineTuning.jobs.list();
const deleted = await client.files.delete(file.id);

const endless = await client.chat.completions.create({
  ...asking("Hello!"), stream: true, max_tokens: 1900, min_tokens: 1900, ignore_eos: true,
});
let pieces = 0;
for await (const _ of endless) {
  if (++pieces === 3) endless.controller.abort();
}

const errors = {
  key: await refused(client.withOptions({ apiKey: "sk-wrong" }).models.list()),
  model: await refused(client.chat.completions.create({ ...asking("a"), model: "nobody" })),
  field: await refused(client.chat.completions.create({ ...asking("a"), temperature: -1 })),
  limit: await refused(client.withOptions({ apiKey: limitedKey }).chat.completions.create(asking("a"))),
};

console.log(JSON.stringify({
  chat: { text: chat.choices[0].message.content, usage: chat.usage },
  stream: { text: streamed, usage },
  tools: {
    auto: auto.choices[0].message.tool_calls, auto_finish: auto.choices[0].finish_reason,
    forced: forced.choices[0].message.tool_calls, streamed: called.choices[0].message.tool_calls,
  },
  parsed: parsed.choices[0].message.parsed,
  many: { choices: many.choices.length, top: many.choices[0].logprobs.content[0].top_logprobs.length },
  legacy: legacy.choices.map((choice) => choice.text),
  bound: bound.choices[0].message.content,
  embedded: { base64: embedded.data.map((d) => d.embedding), float: floats.data.map((d) => d.embedding) },
  models,
  files: { listed: files.includes(file.id), content: content === lines, deleted: deleted.deleted },
  jobs: Array.isArray(jobs.data),
  pieces,
  errors,
}));
