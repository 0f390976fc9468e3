"""`LlmSpec`: the shape of a decoder language model, and the sizes that follow from it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# A name only: whoever needs this module for its words need not load numpy.
Amount: TypeAlias = "float | npt.NDArray[np.floating[Any]]"

INT4_BYTES = (4 + 16 / 128 + 4 / 128) / 8
"""Per group of 128 weights a 16-bit scale and a 4-bit zero point, as AWQ and GPTQ checkpoints have them."""
MXFP4_BYTES = (4 + 8 / 32) / 8
"""An 8-bit scale per block of 32 weights (OCP Microscaling Formats 1.0)."""
BYTES_PER_VALUE = {
    **{"float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "fp8": 1.0},
    **{"awq": INT4_BYTES, "gptq": INT4_BYTES, "int4": INT4_BYTES, "mxfp4": MXFP4_BYTES},
}
"""Bytes a stored weight takes. `int4` is any 4-bit weight-only format; `mxfp4` stores only experts so."""
WEIGHT_ONLY = ("awq", "gptq", "int4", "mxfp4")


@dataclass(frozen=True, slots=True)
class LlmSpec:
    """A decoder-only transformer, as its Hugging Face `config.json` describes it.

    `dtype` is how weights are stored; embeddings and KV are kept in 16 bits (32 for float32 models).
    `intermediate` is the width of the feed-forward, of one expert where there are `experts`, of which a token passes
    `active_experts`; `shared_intermediate` is the width of an expert that every token passes. A `gated` feed-forward
    has three matrices, a plain one two. Layers attend to the last `window` tokens (0: to all), but for `full_layers`
    of them. `attention_bias` is one on Q, K and V, `mlp_bias` one on every matrix of the feed-forward; `positions`
    counts learned position rows. `extra_layer_parameters` is what a layer has besides its matrices, these biases and
    two norms of `hidden`.
    """

    name: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    max_positions: int
    dtype: str = "bfloat16"
    tied_embeddings: bool = False
    repository: str = ""
    revision: str = "main"
    gated: bool = True
    experts: int = 0
    active_experts: int = 0
    shared_intermediate: int = 0
    window: int = 0
    full_layers: int = 0
    attention_bias: bool = False
    mlp_bias: bool = False
    positions: int = 0
    extra_layer_parameters: int = 0

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.name} has {self.heads} heads on {self.kv_heads} KV heads; expected a multiple.")
        if self.dtype not in BYTES_PER_VALUE:
            raise ValueError(f"{self.name} has dtype {self.dtype}; expected one of {', '.join(BYTES_PER_VALUE)}.")
        if self.dtype == "mxfp4" and not self.experts:
            raise ValueError(
                f"{self.name} has dtype mxfp4 and no experts; expected experts, as only they are stored so."
            )
        if not min(self.experts, 1) <= self.active_experts <= self.experts:
            raise ValueError(
                f"{self.name} has {self.active_experts} active experts of {self.experts}; expected 1 or more of them."
            )
        if self.full_layers and not (self.window and self.full_layers < self.layers):
            raise ValueError(
                f"{self.name} has {self.full_layers} of {self.layers} layers with full attention and a window of "
                f"{self.window} tokens; expected windows in the others."
            )

    @property
    def attention_parameters(self) -> int:
        """Q, K, V and O of one layer, with the biases of the first three."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        bias = queries + 2 * keys if self.attention_bias else 0
        return 2 * self.hidden * (queries + keys) + bias

    @property
    def mlp_parameters(self) -> int:
        """The feed-forward of one layer: all experts, the shared one, and the router."""
        return self._mlp_parameters(self.experts)

    @property
    def active_mlp_parameters(self) -> int:
        """What one token passes through: its own experts, the shared one, and the router."""
        return self._mlp_parameters(self.active_experts)

    @property
    def layer_parameters(self) -> int:
        return self.attention_parameters + self.mlp_parameters + 2 * self.hidden + self.extra_layer_parameters

    @property
    def active_layer_parameters(self) -> int:
        return self.layer_parameters - self.mlp_parameters + self.active_mlp_parameters

    @property
    def embedding_parameters(self) -> int:
        """Input embedding, learned positions, output head unless tied, and the last norm."""
        tables = self.vocabulary * (1 if self.tied_embeddings else 2) + self.positions
        return (tables + 1) * self.hidden

    @property
    def parameters(self) -> int:
        return self.layers * self.layer_parameters + self.embedding_parameters

    @property
    def active_parameters(self) -> int:
        """All but the experts that a token does not pass. gpt-oss publishes this less the input embedding."""
        return self.layers * self.active_layer_parameters + self.embedding_parameters

    @property
    def flops_per_token(self) -> int:
        """2 per active weight of the layers and of the output head.

        Not counted: looking up the input embedding, norms, and attention over the context (`attention_flops`).
        """
        return 2 * (
            self.layers * (self.attention_parameters + self.active_mlp_parameters) + self.vocabulary * self.hidden
        )

    def attention_flops(self, tokens: Amount) -> Amount:
        """Of a causal prompt over all layers: 4 heads head_dim for each pair of a token and one that it attends to.

        Without windows these are tokens² / 2 pairs a layer; with them the last one's reach is cut.
        """
        pairs = self.layers * tokens**2 - self.windowed_layers * self._beyond_window(tokens) ** 2
        return 2 * self.heads * self.head_dim * pairs

    @property
    def weight_only(self) -> bool:
        """Stored in 4 bits and computed in 16."""
        return self.dtype in WEIGHT_ONLY

    @property
    def fp8(self) -> bool:
        """Stored in 8 bits, and computed so where the GPU can."""
        return self.dtype == "fp8"

    @property
    def weight_bytes(self) -> int:
        """Embeddings stay in 16 bits where the layers are quantised."""
        embeddings = self.embedding_parameters * max(BYTES_PER_VALUE[self.dtype], 2.0)
        return round(self.layers * self.layer_weight_bytes + embeddings)

    @property
    def layer_weight_bytes(self) -> float:
        return self._common_bytes + self._expert_bytes

    def layer_bytes_read(self, tokens: Amount) -> Amount:
        """Of one layer's weights, what a pass over `tokens` tokens reads: of the experts those that it meets.

        With routing uniform and independent of token to token, an expert goes unread by chance (1 - active/all)^tokens.
        Real routing is skewed, and reads less.
        """
        if not self.experts:
            return self.layer_weight_bytes + tokens * 0.0
        unread: Amount = (1 - self.active_experts / self.experts) ** tokens
        return self._common_bytes + self._expert_bytes * (1 - unread)

    @property
    def windowed_layers(self) -> int:
        """Layers that attend to `window` tokens at most."""
        return self.layers - self.full_layers if self.window else 0

    @property
    def full_share(self) -> float:
        """The part of the layers that attend to everything."""
        return 1 - self.windowed_layers / self.layers

    def attended(self, context: Amount) -> Amount:
        """Tokens that a token with `context` before it attends to, mean over the layers."""
        return context - self.windowed_layers / self.layers * self._beyond_window(context)

    @property
    def kv_bytes_per_token_layer(self) -> int:
        """K and V of one token in one layer."""
        return 2 * self.kv_heads * self.head_dim * (4 if self.dtype == "float32" else 2)

    @property
    def kv_bytes_per_token(self) -> int:
        """K and V of one token in all layers: what vLLM keeps of it unless it frees what left a window."""
        return self.layers * self.kv_bytes_per_token_layer

    def kv_bytes(self, tokens: Amount) -> Amount:
        """What attention needs of a sequence of `tokens` tokens: within windows the last ones only."""
        return self.kv_bytes_per_token * self.attended(tokens)

    @property
    def kv_movable(self) -> bool:
        """Whether a replica can hand its KV to another: the relay moves full attention only."""
        return not self.window

    def _mlp_parameters(self, experts: int) -> int:
        if not self.experts:
            return self._feed_forward(self.intermediate)
        router = self.hidden * self.experts
        return experts * self._feed_forward(self.intermediate) + self._feed_forward(self.shared_intermediate) + router

    def _feed_forward(self, width: int) -> int:
        """Up (twice where gated) and down; none of width 0."""
        ups = 2 if self.gated else 1
        bias = ups * width + self.hidden if self.mlp_bias and width else 0
        return (ups + 1) * self.hidden * width + bias

    @property
    def _expert_bytes(self) -> float:
        """Of one layer's experts, all of which are read only by passes of many tokens."""
        return self.experts * self._feed_forward(self.intermediate) * BYTES_PER_VALUE[self.dtype]

    @property
    def _common_bytes(self) -> float:
        """Of what every token of one layer passes."""
        common = self.layer_parameters - self.experts * self._feed_forward(self.intermediate)
        return common * (2.0 if self.dtype == "mxfp4" else BYTES_PER_VALUE[self.dtype])

    def _beyond_window(self, tokens: Amount) -> Amount:
        """Tokens that lie outside of the window, 0 or more."""
        beyond = tokens - self.window
        return max(beyond, 0.0) if isinstance(beyond, int | float) else beyond.clip(min=0.0)
