// What llama.cpp says of the default model with its adapter as a GGUF LoRA: the five likeliest tokens after every position, of a text
// with a passage between the marking tokens behind it. The base as it is takes the LoRA alone; with the marking tokens' rows it would
// end llama.cpp (ggml_can_mul_mat), because its head is tied to the embedding, so a copy with a head of its own takes those.
//
//   flashback quantize examples/models/flashback-base-5m.gguf untied.gguf --dtype f16 --untie
//   flashback convert-adapter examples/models/flashback-adapter-5m lora.gguf --no-rows
//   flashback convert-adapter examples/models/flashback-adapter-5m rows.gguf --model untied.gguf
//   npm install node-llama-cpp@3.22.1
//   node llama_cpp_adapter_expected.mjs examples/models/flashback-base-5m.gguf lora.gguf untied.gguf rows.gguf \
//       > flashback-adapter-5m_expected.json
import {basename, resolve} from "node:path";
import {getLlama, LlamaLogLevel} from "node-llama-cpp";

const pairs = [
    ["The Unix operating system was developed at", "UNIX: an interactive time-sharing operating system invented in 1969 by Ken " +
        "Thompson after Bell Labs left the Multics project."],
    ["A compiler is a program that", "A program that converts another program from some source language to machine language."],
    ["To list all branches of a repository, use", "git-branch - List, create, or delete branches"],
];
const llama = await getLlama({gpu: false, build: "never", logLevel: LlamaLogLevel.error});

// Probabilities of all tokens, the likeliest first, without any of the sampler's filters.
const everything = {temperature: 1, topK: 0, topP: 1, minP: 0};

async function casesOf(file, lora) {
    const model = await llama.loadModel({modelPath: resolve(file)});
    const context = await model.createContext({contextSize: 256, threads: 1, flashAttention: false,
        lora: {adapters: [{filePath: resolve(lora), scale: 1}]}});
    const sequence = context.getSequence();
    const cases = [];
    for (const [text, passage] of pairs) {
        const tokens = [model.tokens.bos, ...model.tokenize(text, false), 4096, ...model.tokenize(passage, false), 4097];
        await sequence.clearHistory();
        const found = await sequence.controlledEvaluate(
            tokens.map((token) => [token, {generateNext: {probabilities: true, options: everything}}]));
        const next_top5 = found.map(({next}) => [...next.probabilities].sort((a, b) => b[1] - a[1]).slice(0, 5)
            .map(([token, probability]) => [token, Number(probability.toFixed(6))]));
        cases.push({text, tokens, next_top5});
    }
    await context.dispose();
    await model.dispose();
    return cases;
}

const [tied, lora, untied, rows] = process.argv.slice(2);
console.log(JSON.stringify({
    model: basename(tied),
    engine: "llama.cpp " + llama.llamaCppRelease.release + ", CPU, f16 KV cache",
    note: "next_top5[i] = five likeliest next tokens and their probabilities after tokens[0..i]",
    lora: await casesOf(tied, lora),
    lora_and_rows: await casesOf(untied, rows),
}, null, 1));
process.exit(0);
