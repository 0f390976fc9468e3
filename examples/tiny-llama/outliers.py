"""Train a model whose keys have outlier channels, out of the one this folder ships: `python outliers.py --out FOLDER`.

Models like Qwen2 add a large constant to a few channels of every key, most of all to those that RoPE turns slowest.
What shares a scale among a token's channels then loses the rest of them, so a codec must be tried on such keys. Here
the shipped weights get such constants, which may then change, and all are trained until the model predicts about as
well as before.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import train
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils.logging import disable_progress_bar

OFFSET = 40.0
"""About 13 times the spread of the shipped model's keys."""
OUTLIERS, SLOW = 4, 8
"""So many channels of each KV head, among so many of the slowest in either half of RoPE's pairs."""
WINDOW = 512
RATE = 1e-3


def main() -> None:
    """Train, save as float16, reload the saved files and report the loss beside the shipped model's."""
    args = parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    disable_progress_bar()
    tokenizer = Tokenizer.from_file(str(train.HERE / "tokenizer.json"))
    known, held_out = train.encode_files(tokenizer, train.stdlib_sources())
    model = with_outliers(train.load(train.HERE), torch.Generator().manual_seed(args.seed))
    fit(model, known, args.steps, torch.Generator().manual_seed(args.seed))
    train.save(model, tokenizer, args.out)
    for name, folder in (("shipped", train.HERE), ("with outliers", args.out)):
        loss = train.model_loss(train.load(folder), held_out[: 32 * WINDOW + 1], WINDOW)
        print(f"{name}: {loss:.3f} nats per held-out token")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=80, help=f"of {train.TOKENS_PER_STEP} tokens")
    parser.add_argument("--out", type=Path, required=True, help="folder for the model's files")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def with_outliers(shipped: LlamaForCausalLM, rng: torch.Generator) -> LlamaForCausalLM:
    """Return the shipped model with biases in its attention: 0, but for a few channels of the keys."""
    config = LlamaConfig.from_dict(shipped.config.to_dict() | {"attention_bias": True, "use_cache": False})
    model = LlamaForCausalLM(config)
    weights = {name: torch.zeros_like(weight) for name, weight in model.state_dict().items() if name.endswith("bias")}
    model.load_state_dict(shipped.state_dict() | weights)
    half = config.head_dim // 2
    slowest = torch.cat([torch.arange(stop - SLOW, stop) for stop in (half, 2 * half)])
    for layer in model.model.layers:
        for bias in layer.self_attn.k_proj.bias.data.view(-1, config.head_dim):
            chosen = slowest[torch.randperm(len(slowest), generator=rng)[:OUTLIERS]]
            bias[chosen] = OFFSET * (2.0 * torch.randint(2, (OUTLIERS,), generator=rng) - 1)
    return model


def fit(model: LlamaForCausalLM, known: torch.Tensor, steps: int, rng: torch.Generator) -> None:
    """Train all weights in place."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = RATE * train.schedule(step, step / steps)
        with torch.autocast("cpu", torch.bfloat16):
            loss = train.loss_of(model, train.batch(known, known, WINDOW, rng))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        model.zero_grad()
        if step % 10 == 0:
            print(f"step {step:3}  loss {loss:.3f}", flush=True)


if __name__ == "__main__":
    main()
