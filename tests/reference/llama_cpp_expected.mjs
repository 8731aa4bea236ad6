// What llama.cpp says of a model: tokens, greedy continuations, and the five likeliest tokens after every position.
//
//   npm install node-llama-cpp@3.22.1
//   node llama_cpp_expected.mjs MODEL.gguf > flashback-base-5m_expected.json
import {basename, resolve} from "node:path";
import {getLlama, LlamaLogLevel} from "node-llama-cpp";

const texts = [
    "The Unix operating system was developed at",
    "A compiler is a program that",
    "To list all branches of a repository, use",
    "In the beginning God created",
    "Ünïcode — 日本語, tabs\tand\nnew lines",
];
const file = resolve(process.argv[2]);
const llama = await getLlama({gpu: false, build: "never", logLevel: LlamaLogLevel.error});
const model = await llama.loadModel({modelPath: file});
const context = await model.createContext({contextSize: 256, threads: 1, flashAttention: false});
const sequence = context.getSequence();

// Probabilities of all tokens, the likeliest first, without any of the sampler's filters.
const everything = {temperature: 1, topK: 0, topP: 1, minP: 0};

const cases = [];
for (const text of texts) {
    const tokens = [model.tokens.bos, ...model.tokenize(text, false)];
    await sequence.clearHistory();
    const found = await sequence.controlledEvaluate(
        tokens.map((token) => [token, {generateNext: {probabilities: true, options: everything}}]));
    const next_top5 = found.map(({next}) => [...next.probabilities].sort((a, b) => b[1] - a[1]).slice(0, 5)
        .map(([token, probability]) => [token, Number(probability.toFixed(6))]));
    await sequence.clearHistory();
    const greedy = [];
    let input = tokens;
    while (greedy.length < 48) {
        const behind = await sequence.controlledEvaluate(
            input.map((token, i) => i + 1 < input.length ? token : [token, {generateNext: {probabilities: true, options: everything}}]));
        const best = [...behind.at(-1).next.probabilities].reduce((a, b) => (b[1] > a[1] ? b : a))[0];
        greedy.push(best);
        input = [best];
    }
    cases.push({text, tokens, greedy, next_top5});
}
console.log(JSON.stringify({
    model: basename(file),
    engine: "llama.cpp " + llama.llamaCppRelease.release + ", CPU, f16 KV cache",
    note: "next_top5[i] = five likeliest next tokens and their probabilities after tokens[0..i]",
    cases,
}, null, 1));
process.exit(0);
