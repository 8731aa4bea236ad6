// What llama.cpp computes from the files that tests/loading/llama_cpp.cpp writes.
//
//   mkdir files; FLASHBACK_TEST_KEEP=files build/release/tests/test_loading -s -tc='llama.cpp computes*' > log
//   npm install node-llama-cpp@3.22.1
//   node llama_cpp_files.mjs files log > llama_cpp_files_expected.json
import {readFileSync, readdirSync} from "node:fs";
import {join, resolve} from "node:path";
import {getLlama, LlamaLogLevel} from "node-llama-cpp";

const [folder, log] = process.argv.slice(2);
const llama = await getLlama({gpu: false, build: "never", logLevel: LlamaLogLevel.error});
const everything = {temperature: 1, topK: 0, topP: 1, minP: 0};
const tokens = Array.from({length: 40}, (_, i) => 1 + (i * i * 7 + i * 3) % 299);
const files = {};
for (const file of readdirSync(folder).sort()) {
    const name = file.replace(/\.gguf$/, "");
    const model = await llama.loadModel({modelPath: resolve(join(folder, file))});
    const context = await model.createContext({contextSize: 200, threads: 1, flashAttention: false});
    const found = await context.getSequence().controlledEvaluate(
        tokens.map((token) => [token, {generateNext: {probabilities: true, options: everything}}]));
    const behind = found.slice(0, -1).map(({next}) => next.probabilities);
    files[name] = {
        fingerprint: readFileSync(log, "utf8").match(new RegExp(`${name}: ([0-9]+)`))[1],
        tokens,
        nats: behind.map((p, i) => Number((-Math.log(p.get(tokens[i + 1]))).toFixed(5))),
        likeliest: behind.map((p) => [...p].reduce((a, b) => (b[1] > a[1] ? b : a))[0]),
    };
    await context.dispose();
    await model.dispose();
}
console.log(JSON.stringify({engine: "llama.cpp " + llama.llamaCppRelease.release + ", CPU, f16 KV cache", files}, null, 1));
process.exit(0);
