"""What KV codecs cost a causal language model: each window of a text is read with its KV exact, and with it coded.

K and V come from a pass of the model over the whole window, as a prefill replica computes them. In a second pass every
token attends to the coded ones in place of its own: so each is predicted as the first token after a prompt is, only
that this prompt's last token has crossed too. Teacher-forced: the text is given, the model says how likely it was.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from benchmarks.kv_codec_attention import QUERIES, attention_kl
from benchmarks.kv_codec_schemes import Kv, Scheme
from planner.errors import SpecError
from runtime.codec.protocol import TORCH_DTYPE
from runtime.tiles.geometry import Geometry


@dataclass(slots=True)
class Tally:
    """Sums of a scheme over tokens, and of squares over K and V."""

    tokens: int = 0
    nats: float = 0.0
    same: int = 0
    divergence: float = 0.0
    attention: float = 0.0
    attention_count: int = 0
    off: tuple[float, float] = (0.0, 0.0)
    size: tuple[float, float] = (0.0, 0.0)


class Crossed(DynamicCache):  # type: ignore[misc]
    """A cache that answers every token with KV that has crossed, whatever the model computes."""

    def __init__(self, kv: Kv, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__()
        self._kv = [part.to(device, dtype).unsqueeze(1) for part in kv]

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any) -> Kv:
        return self._kv[0][layer_idx], self._kv[1][layer_idx]


class Probe:
    """Attention as usual that also keeps the last queries of every layer, `[heads, queries, channels]`."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.queries: dict[int, Tensor] = {}
        self.scaling = 0.0
        AttentionInterface.register("thunder_probe", self._attend)
        AttentionMaskInterface.register("thunder_probe", sdpa_mask)
        model.set_attn_implementation("thunder_probe")

    def _attend(self, module: Any, query: Tensor, *rest: Any, **options: Any) -> Any:
        self.queries[module.layer_idx] = query[0, :, -QUERIES:].cpu()
        self.scaling = options.get("scaling") or query.shape[-1] ** -0.5
        return sdpa_attention_forward(module, query, *rest, **options)


def measure(
    model: PreTrainedModel, windows: Iterator[Tensor], dtype: str, schemes: Sequence[Scheme]
) -> tuple[Geometry, list[Tally]]:
    """The first scheme is what the others are compared with. `dtype` is what a served cache would hold."""
    probe, tallies = Probe(model), [Tally() for _ in schemes]
    geometry: Geometry | None = None
    with torch.inference_mode():
        for tokens in windows:
            kv = exact_kv(model, tokens, TORCH_DTYPE[dtype])
            geometry = Geometry(kv[0].shape[0], kv[0].shape[1], kv[0].shape[3], dtype)
            queries = dict(probe.queries)
            expected: Tensor | None = None
            for scheme, tally in zip(schemes, tallies, strict=True):
                crossed = scheme.crossed(geometry, kv)
                found = log_chances(model, tokens, crossed)
                expected = found if expected is None else expected
                _count(tally, tokens, expected, found)
                _count_attention(tally, queries, probe.scaling, kv, crossed)
    if geometry is None:
        raise SpecError("The text is shorter than one window.", hint="Give a longer text, or a smaller --window.")
    return geometry, tallies


def exact_kv(model: PreTrainedModel, tokens: Tensor, dtype: torch.dtype) -> Kv:
    """K and V of all layers, `[layers, heads, tokens, channels]`. SpecError where the cache is of another kind."""
    cache = DynamicCache()
    model(tokens.to(model.device), past_key_values=cache, use_cache=True, logits_to_keep=1)
    try:
        keys, values = (
            torch.cat([getattr(layer, name).cpu() for layer in cache.layers]).to(dtype) for name in ("keys", "values")
        )
    except (AttributeError, RuntimeError, TypeError) as error:
        raise SpecError(
            f"The model's layers do not all keep K and V alike: {error}.",
            hint="Measured are models whose every layer has the same full attention, like Llama, Qwen or Mistral.",
        ) from error
    if keys.shape != values.shape or keys.ndim != 4 or keys.shape[2] != tokens.shape[1]:
        raise SpecError(
            f"The model keeps K as {tuple(keys.shape)} and V as {tuple(values.shape)}; expected the same for both, "
            f"with {tokens.shape[1]} tokens.",
            hint="Latent (MLA) and sliding-window caches can't be carried.",
        )
    return keys, values


def log_chances(model: PreTrainedModel, tokens: Tensor, kv: Kv) -> Tensor:
    """Log-probabilities of all next tokens but the last, `[tokens - 1, vocabulary]`."""
    cache = Crossed(kv, model.dtype, model.device)
    logits = model(tokens.to(model.device), past_key_values=cache, use_cache=True).logits[0, :-1]
    return logits.float().log_softmax(-1)


def _count(tally: Tally, tokens: Tensor, expected: Tensor, found: Tensor) -> None:
    following = tokens[0, 1:].to(found.device)
    tally.tokens += len(following)
    tally.nats -= float(found.gather(1, following.unsqueeze(1)).double().sum())
    tally.same += int((found.argmax(-1) == expected.argmax(-1)).sum())
    tally.divergence += float((expected.exp() * (expected - found)).double().sum())


def _count_attention(tally: Tally, queries: dict[int, Tensor], scaling: float, exact: Kv, crossed: Kv) -> None:
    pairs = [(known.float(), found.float()) for known, found in zip(exact, crossed, strict=True)]
    off, size = zip(*((float((a - b).square().sum()), float(a.square().sum())) for a, b in pairs), strict=True)
    tally.off = (tally.off[0] + off[0], tally.off[1] + off[1])
    tally.size = (tally.size[0] + size[0], tally.size[1] + size[1])
    for layer, asked in queries.items():
        nats = attention_kl(asked, scaling, exact[0][layer], crossed[0][layer])
        tally.attention += float(nats.double().sum())
        tally.attention_count += nats.numel()
