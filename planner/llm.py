"""`LlmSpec`: the shape of a decoder language model, and the sizes that follow from it."""

from dataclasses import dataclass

BYTES_PER_VALUE = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "fp8": 1.0, "awq": 0.53, "gptq": 0.53}
"""Bytes a stored weight takes; the 4-bit formats carry a scale per group of 128."""


@dataclass(frozen=True, slots=True)
class LlmSpec:
    """A dense decoder-only transformer, as its Hugging Face `config.json` describes it.

    `dtype` is how weights are stored; KV is kept in 16 bits (32 for float32 models).
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

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.name} has {self.heads} heads on {self.kv_heads} KV heads; expected a multiple.")
        if self.dtype not in BYTES_PER_VALUE:
            raise ValueError(f"{self.name} has dtype {self.dtype}; expected one of {', '.join(BYTES_PER_VALUE)}.")

    @property
    def layer_parameters(self) -> int:
        """Attention (Q, K, V, O) and gated feed-forward weights of one layer, with its two norms."""
        attention = 2 * self.hidden * self.heads * self.head_dim + 2 * self.hidden * self.kv_heads * self.head_dim
        return attention + 3 * self.hidden * self.intermediate + 2 * self.hidden

    @property
    def embedding_parameters(self) -> int:
        """Input embedding, output head unless tied, and the last norm."""
        return self.vocabulary * self.hidden * (1 if self.tied_embeddings else 2) + self.hidden

    @property
    def parameters(self) -> int:
        return self.layers * self.layer_parameters + self.embedding_parameters

    @property
    def weight_bytes(self) -> int:
        """Embeddings stay in 16 bits where the layers are quantised."""
        size = BYTES_PER_VALUE[self.dtype]
        return round(self.layers * self.layer_parameters * size + self.embedding_parameters * max(size, 2.0))

    @property
    def layer_weight_bytes(self) -> float:
        return self.layer_parameters * BYTES_PER_VALUE[self.dtype]

    @property
    def kv_bytes_per_token_layer(self) -> int:
        """K and V of one token in one layer."""
        return 2 * self.kv_heads * self.head_dim * (4 if self.dtype == "float32" else 2)

    @property
    def kv_bytes_per_token(self) -> int:
        return self.layers * self.kv_bytes_per_token_layer
