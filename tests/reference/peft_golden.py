# Golden logits of an adapter in the layout of PEFT, by PyTorch in double: Hugging Face's Llama, which rotates halves of a head, with a
# LoRA of PEFT's arithmetic and replaced embedding rows.
#
#   /usr/bin/python3 tests/reference/peft_golden.py tests/reference/peft_golden     (Debian: apt-get install python3-torch)
#
# writes adapter_config.json, adapter_model.safetensors and logits.json there. The weights of the model are not stored, because both
# sides draw them from SplitMix64, here in the order of Hugging Face's checkpoints.
import json
import math
import os
import re
import struct
import sys

import torch

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)

LAYERS, WIDTH, HEADS, KV_HEADS, HEAD_DIM, HIDDEN, VOCAB = 2, 16, 4, 2, 8, 24, 29
EPSILON, BASE = 1e-5, 10000.0
LINEAR = {
    "self_attn.q_proj": (HEADS * HEAD_DIM, WIDTH), "self_attn.k_proj": (KV_HEADS * HEAD_DIM, WIDTH),
    "self_attn.v_proj": (KV_HEADS * HEAD_DIM, WIDTH), "self_attn.o_proj": (WIDTH, HEADS * HEAD_DIM),
    "mlp.gate_proj": (HIDDEN, WIDTH), "mlp.up_proj": (HIDDEN, WIDTH), "mlp.down_proj": (WIDTH, HIDDEN),
}
CONFIG = {
    "base_model_name_or_path": "tests/golden", "bias": "none", "fan_in_fan_out": False, "inference_mode": True,
    "init_lora_weights": True, "layers_to_transform": None, "lora_alpha": 9, "lora_dropout": 0.05, "modules_to_save": None,
    "peft_type": "LORA", "r": 3, "rank_pattern": {"layers.1.self_attn.q_proj": 5}, "alpha_pattern": {"k_proj": 4},
    "target_modules": ["q_proj", "k_proj", "o_proj", "down_proj"], "task_type": "CAUSAL_LM",
    "trainable_token_indices": {"embed_tokens": [27, 5]}, "use_dora": False, "use_rslora": False,
}
TOKENS = [1, 7, 27, 3, 14, 5, 22, 0, 9, 27, 11, 28]


class SplitMix64:
    def __init__(self, seed):
        self.state = seed

    def uniform(self):
        mask = (1 << 64) - 1
        self.state = (self.state + 0x9E3779B97F4A7C15) & mask
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return ((z ^ (z >> 31)) >> 11) * 2.0**-53


def drawn(random, shape, low, high, dtype=torch.float32):
    """Uniform numbers, rounded as they are stored."""
    values = torch.tensor([low + (high - low) * random.uniform() for _ in range(math.prod(shape))])
    return values.to(dtype).double().reshape(shape)


def pattern(patterns, module, otherwise):
    """peft.utils.other.get_pattern_key, and what stands there."""
    return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", module)), otherwise)


def rotate(x):
    """apply_rotary_pos_emb of transformers: x (heads, tokens, head_dim)."""
    angles = torch.outer(torch.arange(x.shape[1], dtype=torch.float64),
                         BASE ** (-torch.arange(0, HEAD_DIM, 2, dtype=torch.float64) / HEAD_DIM))
    cos, sin = (torch.cat([f(angles)] * 2, -1) for f in (torch.cos, torch.sin))
    half = torch.cat([-x[..., HEAD_DIM // 2:], x[..., : HEAD_DIM // 2]], -1)
    return x * cos + half * sin


def norm(x, weight):
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + EPSILON) * weight


def forward(w, lora):
    def linear(module, x):
        y = x @ w[module].T
        if module in lora:
            a, b = lora[module]
            scale = pattern(CONFIG["alpha_pattern"], module, CONFIG["lora_alpha"]) / a.shape[0]
            y = y + scale * (x @ a.T @ b.T)
        return y

    def heads(x, count):
        return x.reshape(len(TOKENS), count, HEAD_DIM).transpose(0, 1)

    x = w["embed"][TOKENS]
    mask = torch.full((len(TOKENS), len(TOKENS)), -math.inf).triu(1)
    for l in range(LAYERS):
        p = f"model.layers.{l}."
        n = norm(x, w[p + "input_layernorm"])
        q = rotate(heads(linear(p + "self_attn.q_proj", n), HEADS))
        k = rotate(heads(linear(p + "self_attn.k_proj", n), KV_HEADS)).repeat_interleave(HEADS // KV_HEADS, 0)
        v = heads(linear(p + "self_attn.v_proj", n), KV_HEADS).repeat_interleave(HEADS // KV_HEADS, 0)
        attended = torch.softmax(q @ k.transpose(1, 2) / math.sqrt(HEAD_DIM) + mask, -1) @ v
        x = x + linear(p + "self_attn.o_proj", attended.transpose(0, 1).reshape(len(TOKENS), -1))
        n = norm(x, w[p + "post_attention_layernorm"])
        gate = torch.nn.functional.silu(linear(p + "mlp.gate_proj", n)) * linear(p + "mlp.up_proj", n)
        x = x + linear(p + "mlp.down_proj", gate)
    return norm(x, w["norm"]) @ w["lm_head"].T


def save_safetensors(path, tensors):
    names = {torch.float32: "F32", torch.float16: "F16"}
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, (values, dtype) in tensors.items():
        raw = bytes(values.to(dtype).contiguous().flatten().view(torch.uint8).tolist())
        header[name] = {"dtype": names[dtype], "shape": list(values.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


folder = sys.argv[1]
os.makedirs(folder, exist_ok=True)
random = SplitMix64(21)
w = {"embed": drawn(random, (VOCAB, WIDTH), -0.5, 0.5)}
for l in range(LAYERS):
    p = f"model.layers.{l}."
    w[p + "input_layernorm"] = drawn(random, (WIDTH,), 0.5, 1.5)
    w[p + "post_attention_layernorm"] = drawn(random, (WIDTH,), 0.5, 1.5)
    for name, shape in LINEAR.items():
        w[p + name] = drawn(random, shape, -0.4, 0.4)
w["norm"] = drawn(random, (WIDTH,), 0.5, 1.5)
w["lm_head"] = w["embed"].clone()  # tied, and the rows of the base stay there

lora, files = {}, {}
for module in w:
    if not any(module.endswith("." + target) for target in CONFIG["target_modules"]):
        continue
    outputs, inputs = w[module].shape
    rank = pattern(CONFIG["rank_pattern"], module, CONFIG["r"])
    dtype = torch.float16 if module.endswith("down_proj") else torch.float32
    lora[module] = drawn(random, (rank, inputs), -0.4, 0.4, dtype), drawn(random, (outputs, rank), -0.4, 0.4, dtype)
    for letter, values in zip("AB", lora[module]):
        files[f"base_model.model.{module}.lora_{letter}.weight"] = values, dtype
rows = drawn(random, (2, WIDTH), -0.5, 0.5)
files["base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta"] = rows, torch.float32

golden = {"torch": torch.__version__, "tokens": TOKENS, "base": forward(w, {}).tolist()}
w["embed"] = w["embed"].index_copy(0, torch.tensor(CONFIG["trainable_token_indices"]["embed_tokens"]), rows)
golden["adapted"] = forward(w, lora).tolist()
save_safetensors(os.path.join(folder, "adapter_model.safetensors"), files)
with open(os.path.join(folder, "adapter_config.json"), "w") as file:
    json.dump(CONFIG, file, indent=2)
    file.write("\n")
with open(os.path.join(folder, "logits.json"), "w") as file:
    json.dump(golden, file)
    file.write("\n")
