"""Train the tiny Llama this folder ships: `python train.py` writes the model's files beside itself.

The text is the Python standard library's own source, found on any machine, so nothing is downloaded. A file is
held out by a hash of its path, and so stays held out on another Python version. With one seed and thread count a
run is repeatable as long as `--steps` ends it; a run that `--minutes` ends depends on how busy the machine was.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import math
import random
import re
import sysconfig
import tempfile
import textwrap
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM
from transformers.utils.logging import disable_progress_bar

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parent
START, END, SYSTEM, USER, ASSISTANT = SPECIAL = ["<|start|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
VOCABULARY = 2048
CONTEXT = 4096
SKIPPED_FOLDERS = {"site-packages", "dist-packages", "test", "tests", "idle_test", "encodings"}
"""`encodings` holds tables that repeat each other, so a held-out one would already be known."""

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}{{ eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
QUESTIONS = ("Write the code of {path}.", "Write the code of {path}", "Show me {name}.", "Write a function {name}.")
SYSTEM_PROMPT = "You are a helpful assistant."

TOKENS_PER_STEP = 2048
CHAT_SHARE = 0.2
WARMUP_STEPS = 30
MATRIX_RATE, VECTOR_RATE = 0.03, 8e-3
"""Peak learning rates: Muon's for the layers' matrices, AdamW's for the embedding and the norms."""
PHASES = ((0.60, 256), (0.75, 1024), (0.78, 4096), (0.95, 1024), (1.00, 4096))
"""Until which part of the run, in windows of how many tokens. Short windows are cheap; long ones must be seen too."""


@dataclass(frozen=True, slots=True)
class Losses:
    """Mean loss over the same held-out tokens, in nats per token."""

    unigram: float
    context_512: float
    context_4096: float
    tokens_per_line: float

    def table(self) -> str:
        """Return a Markdown table, in nats per token and per line of source."""
        rows = (
            ("unigram model", self.unigram),
            ("this model, context 512", self.context_512),
            ("this model, context 4,096", self.context_4096),
        )
        lines = [f"| {name} | {loss:.3f} | {loss * self.tokens_per_line:.1f} |" for name, loss in rows]
        return "\n".join(["| held-out loss | nats per token | nats per line |", "|---|---|---|", *lines])


def main() -> None:
    """Train, save as float16, reload the saved files and report their losses."""
    args = parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    disable_progress_bar()
    started = time.monotonic()
    files = stdlib_sources()
    tokenizer = train_tokenizer([text for path, text in files.items() if not is_held_out(path)])
    train, held_out = encode_files(tokenizer, files)
    chats = encode_all(tokenizer, chat_samples(files, random.Random(args.seed)))
    print(f"{len(files)} files: {len(train):,} tokens to train on, {len(held_out):,} held out, {len(chats):,} in chats")
    model = new_model()
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    fit(model, tokenizer, train, chats, args)
    save(model, tokenizer, args.out)
    print(f"trained in {(time.monotonic() - started) / 60:.1f} minutes; evaluating the saved files", flush=True)
    lines = sum(text.count("\n") for path, text in files.items() if is_held_out(path))
    shipped = load(args.out)
    losses = measure(shipped, train, held_out, tokens_per_line=len(held_out) / lines)
    print(losses.table())
    print(f"\nA greedy answer:\n{answer(shipped, tokenizer, 'Write a function is_empty.')}")
    write_losses(args.out / "README.md", losses)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=1350, help=f"of {TOKENS_PER_STEP} tokens, or one longer window")
    parser.add_argument("--minutes", type=float, default=60.0, help="end sooner, after this much training")
    parser.add_argument("--save-every", type=float, default=5.0, metavar="MINUTES", help="also save while training")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the model's files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


# --- text ---------------------------------------------------------------------------------------------------------


def stdlib_sources() -> dict[str, str]:
    """Return the standard library's source files by relative path, in a stable order."""
    root = Path(sysconfig.get_path("stdlib"))
    paths = {path.relative_to(root) for path in root.rglob("*.py")}
    kept = sorted(path.as_posix() for path in paths if SKIPPED_FOLDERS.isdisjoint(path.parts))
    return {path: (root / path).read_text(encoding="utf-8", errors="replace") for path in kept}


def is_held_out(path: str) -> bool:
    """Return whether a file is kept from training: one in twenty, decided by its path alone."""
    return hashlib.sha256(path.encode()).digest()[0] % 20 == 0


def chat_samples(files: dict[str, str], rng: random.Random) -> list[str]:
    """Return conversations of one to three turns whose answers are functions of the training files."""
    functions = [item for path, text in files.items() if not is_held_out(path) for item in functions_of(path, text)]
    rng.shuffle(functions)
    samples = []
    while functions:
        turns = [functions.pop() for _ in range(min(len(functions), rng.choice((1, 1, 2, 3))))]
        samples.append(conversation(turns, rng))
    return samples


def functions_of(path: str, text: str) -> Iterator[tuple[str, str]]:
    """Yield the dotted name and the source of each short top-level function and method."""
    with warnings.catch_warnings(action="ignore"):
        body = ast.parse(text).body
    lines = text.split("\n")
    module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    owners = [
        (module, body),
        *((f"{module}.{node.name}", node.body) for node in body if isinstance(node, ast.ClassDef)),
    ]
    for owner, nodes in owners:
        for node in nodes:
            if isinstance(node, ast.FunctionDef) and 2 <= len(source := lines[node.lineno - 1 : node.end_lineno]) <= 40:
                yield f"{owner}.{node.name}", textwrap.dedent("\n".join(source))


def conversation(turns: list[tuple[str, str]], rng: random.Random) -> str:
    """Return a conversation as `CHAT_TEMPLATE` renders it, less the opening and closing tokens."""
    parts = [f"{SYSTEM}{SYSTEM_PROMPT}"] if rng.random() < 0.3 else []
    for path, source in turns:
        question = rng.choice(QUESTIONS).format(path=path, name=path.rpartition(".")[2])
        parts += [f"{USER}{question}", f"{ASSISTANT}{source}"]
    return END.join(parts)


# --- tokens -------------------------------------------------------------------------------------------------------


def train_tokenizer(texts: list[str]) -> Tokenizer:
    """Return a byte-level BPE: any text can be encoded, and decodes to itself."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A", pair=f"{START} $A $B", special_tokens=[(START, SPECIAL.index(START))]
    )
    return tokenizer


def encode_files(tokenizer: Tokenizer, files: dict[str, str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the tokens to train on and the held-out tokens, each one stream."""
    train = [text for path, text in files.items() if not is_held_out(path)]
    held_out = [text for path, text in files.items() if is_held_out(path)]
    return encode_all(tokenizer, train), encode_all(tokenizer, held_out)


def encode_all(tokenizer: Tokenizer, texts: list[str]) -> torch.Tensor:
    """Return the texts as one stream, each between the start and the end token."""
    end = SPECIAL.index(END)
    return torch.tensor([token for item in tokenizer.encode_batch(texts) for token in (*item.ids, end)])


# --- training -----------------------------------------------------------------------------------------------------


def new_model() -> LlamaForCausalLM:
    """Return an untrained model: 8 layers, 4 query heads that share 2 KV heads."""
    config = LlamaConfig(
        initializer_range=0.05,
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=8,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=SPECIAL.index(START),
        eos_token_id=SPECIAL.index(END),
        use_cache=False,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight /= math.sqrt(2 * config.num_hidden_layers)
            layer.mlp.down_proj.weight /= math.sqrt(2 * config.num_hidden_layers)
    return model


def fit(
    model: LlamaForCausalLM, tokenizer: Tokenizer, train: torch.Tensor, chats: torch.Tensor, args: argparse.Namespace
) -> None:
    """Train in place, until the steps or the minutes are spent, saving to `args.out` now and then."""
    matrices = [weight for weight in model.model.layers.parameters() if weight.ndim == 2]
    others = [weight for name, weight in model.named_parameters() if weight.ndim == 1 or "embed" in name]
    muon = torch.optim.Muon(matrices, lr=MATRIX_RATE, weight_decay=0.05)
    adamw = torch.optim.AdamW(others, lr=VECTOR_RATE, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    rng = torch.Generator().manual_seed(args.seed)
    started = saved = time.monotonic()
    step, progress, tokens = 0, 0.0, 0
    while progress < 1:
        window = next(window for until, window in PHASES if progress < until)
        muon.param_groups[0]["lr"] = MATRIX_RATE * schedule(step, progress)
        adamw.param_groups[0]["lr"] = VECTOR_RATE * schedule(step, progress)
        model.set_attn_implementation("eager" if window <= 256 else "sdpa")  # the faster one at each length
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(model, batch(train, chats, window, rng))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        muon.step()
        adamw.step()
        model.zero_grad()

        now = time.monotonic()
        step, tokens = step + 1, tokens + max(window, TOKENS_PER_STEP)
        progress = max(step / args.steps, (now - started) / (60 * args.minutes))
        if step % 20 == 0:
            rate = tokens / (now - started)
            print(
                f"step {step:4} ({progress:4.0%})  window {window:4}  loss {loss:.3f}  {rate:,.0f} tokens/s", flush=True
            )
        if now - saved > 60 * args.save_every:
            save(model, tokenizer, args.out)
            saved = now
    print(f"ended after {step} steps, {tokens:,} tokens")


def schedule(step: int, progress: float) -> float:
    """Return the part of the peak learning rate: a linear warm-up, then a cosine to a fiftieth."""
    cosine = 0.02 + 0.98 * (1 + math.cos(math.pi * progress)) / 2
    return cosine * min(1.0, (step + 1) / WARMUP_STEPS)


def batch(train: torch.Tensor, chats: torch.Tensor, window: int, rng: torch.Generator) -> torch.Tensor:
    """Return random windows of `window + 1` tokens, `CHAT_SHARE` of them from the conversations."""
    rows = []
    for _ in range(max(1, TOKENS_PER_STEP // window)):
        stream = chats if torch.rand((), generator=rng) < CHAT_SHARE else train
        at = int(torch.randint(len(stream) - window, (), generator=rng))
        rows.append(stream[at : at + window + 1])
    return torch.stack(rows)


def loss_of(model: LlamaForCausalLM, rows: torch.Tensor) -> torch.Tensor:
    """Return the mean loss of predicting each token of each row but the first, in nats per token."""
    logits = model(input_ids=rows[:, :-1]).logits
    return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), rows[:, 1:].flatten())


# --- files --------------------------------------------------------------------------------------------------------


def save(model: LlamaForCausalLM, tokenizer: Tokenizer, out: Path) -> None:
    """Write all files of the model as float16, each replaced whole, so that a reader never sees half a file."""
    out.mkdir(parents=True, exist_ok=True)
    config = LlamaConfig.from_dict(model.config.to_dict() | {"use_cache": True})
    half = LlamaForCausalLM(config)
    half.load_state_dict(model.state_dict())
    half.generation_config = GenerationConfig(bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id)
    with tempfile.TemporaryDirectory(dir=out, prefix=".saving-") as name:
        folder = Path(name)
        half.half().save_pretrained(folder)
        tokenizer.save(str(folder / "tokenizer.json"))
        write_json(folder / "tokenizer_config.json", tokenizer_config())
        write_json(
            folder / "config.json", json.loads((folder / "config.json").read_text()) | {"torch_dtype": "float16"}
        )
        for file in folder.iterdir():
            file.chmod(0o644)
            file.replace(out / file.name)


def tokenizer_config() -> dict[str, object]:
    """Return what transformers and vLLM read beside `tokenizer.json`."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": START,
        "eos_token": END,
        "pad_token": END,
        "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }


def write_json(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")


def load(folder: Path) -> LlamaForCausalLM:
    """Return the saved model, its float16 weights widened to float32: the same numbers, and faster on a CPU."""
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


# --- evaluation ---------------------------------------------------------------------------------------------------


def measure(model: LlamaForCausalLM, train: torch.Tensor, held_out: torch.Tensor, *, tokens_per_line: float) -> Losses:
    """Return the losses over as many held-out tokens as fill whole windows of 4,096."""
    tokens = held_out[: (len(held_out) - 1) // CONTEXT * CONTEXT + 1]
    return Losses(
        unigram=unigram_loss(train, tokens),
        context_512=model_loss(model, tokens, 512),
        context_4096=model_loss(model, tokens, 4096),
        tokens_per_line=tokens_per_line,
    )


def unigram_loss(train: torch.Tensor, held_out: torch.Tensor) -> float:
    """Return the loss of guessing by frequency alone, with add-one smoothing, in nats per token."""
    counts = torch.bincount(train, minlength=VOCABULARY).double() + 1
    return float(-(counts / counts.sum()).log()[held_out[1:]].mean())


def model_loss(model: LlamaForCausalLM, tokens: torch.Tensor, context: int) -> float:
    """Return the loss over every token but the first, read in windows of `context` tokens, in nats per token."""
    windows = tokens.unfold(0, context + 1, context)
    with torch.no_grad():
        return float(torch.stack([loss_of(model, row[None]) for row in windows]).mean())


def answer(model: LlamaForCausalLM, tokenizer: Tokenizer, question: str, *, tokens: int = 120) -> str:
    """Return the greedy reply to a question, of `tokens` at most."""
    prompt = torch.tensor([tokenizer.encode(f"{USER}{question}{END}{ASSISTANT}").ids])
    reply = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=tokens, do_sample=False)
    return str(tokenizer.decode(reply[0, prompt.shape[1] :].tolist()))


def write_losses(readme: Path, losses: Losses) -> None:
    """Replace the table between the README's markers, where there is such a README."""
    if readme.exists():
        marked = re.compile(r"(?<=<!-- measured -->\n).*?(?=<!-- /measured -->)", re.DOTALL)
        readme.write_text(marked.sub(lambda _: losses.table() + "\n", readme.read_text()))


if __name__ == "__main__":
    main()
