# Golden figures of training, by PyTorch in double: losses, every gradient and ten steps of AdamW, for `all` and for LoRA + markers.
#
#   /usr/bin/python3 tests/reference/train_golden.py > tests/reference/train_golden.json     (Debian: apt-get install python3-torch)
#
# The model is written here from the papers; no weights are stored, because both sides draw them from SplitMix64.
import json
import math

import torch

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)

LAYERS, WIDTH, HEADS, KV_HEADS, HEAD_DIM, HIDDEN, VOCAB = 2, 16, 4, 2, 4, 24, 29
EPSILON, BASE = 1e-5, 10000.0
MARKERS = [27, 5]
LINEAR = {
    "attn_q": (HEADS * HEAD_DIM, WIDTH), "attn_k": (KV_HEADS * HEAD_DIM, WIDTH), "attn_v": (KV_HEADS * HEAD_DIM, WIDTH),
    "attn_output": (WIDTH, HEADS * HEAD_DIM), "ffn_gate": (HIDDEN, WIDTH), "ffn_up": (HIDDEN, WIDTH), "ffn_down": (WIDTH, HIDDEN),
}


class SplitMix64:
    def __init__(self, seed):
        self.state = seed

    def next(self):
        mask = (1 << 64) - 1
        self.state = (self.state + 0x9E3779B97F4A7C15) & mask
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return z ^ (z >> 31)

    def uniform(self):
        return (self.next() >> 11) * 2.0**-53


def drawn(random, shape, low, high):
    """Uniform numbers, rounded to float as the library has them."""
    count = math.prod(shape)
    values = torch.tensor([low + (high - low) * random.uniform() for _ in range(count)])
    return values.float().double().reshape(shape)


def weights(random):
    w = {"token_embd.weight": drawn(random, (VOCAB, WIDTH), -0.5, 0.5)}
    for l in range(LAYERS):
        w[f"blk.{l}.attn_norm.weight"] = drawn(random, (WIDTH,), 0.5, 1.5)
        w[f"blk.{l}.ffn_norm.weight"] = drawn(random, (WIDTH,), 0.5, 1.5)
        for name, shape in LINEAR.items():
            w[f"blk.{l}.{name}.weight"] = drawn(random, shape, -0.4, 0.4)
    w["output_norm.weight"] = drawn(random, (WIDTH,), 0.5, 1.5)
    return w


def rms_norm(x, weight):
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + EPSILON) * weight


def rotate(x):
    """x (tokens, heads, head_dim): adjacent pairs."""
    angles = torch.outer(torch.arange(x.shape[0]).double(), BASE ** (-torch.arange(0, HEAD_DIM, 2).double() / HEAD_DIM))
    cos, sin = angles.cos()[:, None, :], angles.sin()[:, None, :]
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, b * cos + a * sin), -1).flatten(-2)


def linear(w, l, name, x, scale):
    y = x @ w[f"blk.{l}.{name}.weight"].T
    a = w.get(f"blk.{l}.{name}.lora_a")
    return y if a is None else y + scale * ((x @ a.T) @ w[f"blk.{l}.{name}.lora_b"].T)


def loss_of(w, tokens, targets, scale, cut):
    """The sum of the cross entropy of the tokens at the target positions."""
    n = len(tokens)
    rows = [w["markers"][MARKERS.index(t)] if "markers" in w and t in MARKERS else w["token_embd.weight"][t] for t in tokens]
    x = torch.stack(rows)
    mask = torch.full((n, n), -math.inf).triu(1)
    for l in range(LAYERS):
        h = rms_norm(x, w[f"blk.{l}.attn_norm.weight"])
        q = rotate(linear(w, l, "attn_q", h, scale).view(n, HEADS, HEAD_DIM))
        k = rotate(linear(w, l, "attn_k", h, scale).view(n, KV_HEADS, HEAD_DIM)).repeat_interleave(HEADS // KV_HEADS, 1)
        v = linear(w, l, "attn_v", h, scale).view(n, KV_HEADS, HEAD_DIM).repeat_interleave(HEADS // KV_HEADS, 1)
        p = torch.softmax(torch.einsum("thd,shd->hts", q, k) / math.sqrt(HEAD_DIM) + mask, -1)
        x = x + linear(w, l, "attn_output", torch.einsum("hts,shd->thd", p, v).reshape(n, -1), scale)
        h = rms_norm(x, w[f"blk.{l}.ffn_norm.weight"])
        gate = torch.nn.functional.silu(linear(w, l, "ffn_gate", h, scale))
        x = x + linear(w, l, "ffn_down", gate * linear(w, l, "ffn_up", h, scale), scale)
    logits = rms_norm(x, w["output_norm.weight"]) @ w["token_embd.weight"].T
    if cut:
        logits = logits.clone()
        logits[:, MARKERS] = -math.inf
    return torch.nn.functional.cross_entropy(logits[[t - 1 for t in targets]], torch.tensor([tokens[t] for t in targets]),
                                             reduction="sum")


def batches(random, markers):
    """Ten batches of three examples; the last third of each is the targets."""
    out = []
    for _ in range(10):
        batch = []
        for e in range(3):
            n = 9 + 3 * e
            tokens = [random.next() % VOCAB for _ in range(n)]
            targets = list(range(n - n // 3, n))
            if markers:
                tokens = [t if t not in MARKERS else 0 for t in tokens]
                tokens[2], tokens[4 + e] = MARKERS
            batch.append({"tokens": tokens, "targets": targets})
        out.append(batch)
    return out


def cosine(step, steps=10, warmup=2):
    if step < warmup:
        return step / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def case(name, seed, lora):
    random = SplitMix64(seed)
    w = weights(random)
    trained = w if not lora else {}
    scale = 8 / 4
    if lora:
        for l in range(LAYERS):
            for m in ("attn_q", "attn_v", "ffn_down"):
                outputs, inputs = LINEAR[m]
                trained[f"blk.{l}.{m}.lora_a"] = drawn(random, (4, inputs), -0.3, 0.3)
                trained[f"blk.{l}.{m}.lora_b"] = drawn(random, (outputs, 4), -0.3, 0.3)
        trained["markers"] = w["token_embd.weight"][MARKERS].clone()
        w = {**w, **trained}
    for tensor in trained.values():
        tensor.requires_grad_(True)
    norms = [t for n, t in trained.items() if n.endswith("norm.weight")]
    others = [t for n, t in trained.items() if not n.endswith("norm.weight")]
    optimiser = torch.optim.AdamW([{"params": others, "weight_decay": 0.1}, {"params": norms, "weight_decay": 0.0}], lr=0.02)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, cosine)
    result = {"name": name, "seed": seed, "batches": batches(random, lora), "curve": [], "norms": []}
    for step, batch in enumerate(result["batches"]):
        optimiser.zero_grad()
        targets = sum(len(e["targets"]) for e in batch)
        losses = [loss_of(w, e["tokens"], e["targets"], scale, lora) for e in batch]
        loss = sum(losses) / targets
        loss.backward()
        if step == 0:
            result["losses"] = [float(f"{x.item():.9g}") for x in losses]
            result["gradients"] = {n: [float(f"{g:.7g}") for g in (t.grad * targets).flatten().tolist()]
                                   for n, t in trained.items()}
        result["norms"].append(float(torch.nn.utils.clip_grad_norm_(list(trained.values()), 0.5)))
        result["curve"].append(loss.item())
        optimiser.step()
        schedule.step()
    return result


print(json.dumps({"torch": torch.__version__, "cases": [case("all", 11, False), case("lora and markers", 12, True)]},
                 separators=(",", ":")))
