// What transformers.js generates from directories of graphs: one JSON line for each job on standard input,
// {"folder", "dtype", "prompt": [ids], "n"}; answers {"tokens": [ids]}. Run in a folder whose node_modules has it.
import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const found = createRequire(path.join(process.cwd(), "index.js")).resolve("@huggingface/transformers");
const { AutoModelForCausalLM, Tensor, env } = await import(pathToFileURL(found).href);
env.allowRemoteModels = false;
for await (const line of createInterface({ input: process.stdin })) {
  const { folder, dtype, prompt, n } = JSON.parse(line);
  env.localModelPath = path.dirname(folder) + path.sep;
  const model = await AutoModelForCausalLM.from_pretrained(path.basename(folder), {
    dtype, device: "cpu", local_files_only: true,
  });
  const ids = (values) => new Tensor("int64", BigInt64Array.from(values, BigInt), [1, values.length]);
  const made = await model.generate({
    inputs: ids(prompt), attention_mask: ids(prompt.map(() => 1)), max_new_tokens: n, min_new_tokens: n,
    do_sample: false,
  });
  const tokens = Array.from(made.data, Number).slice(prompt.length);
  console.log(JSON.stringify({ tokens }));
  await model.dispose();
}
