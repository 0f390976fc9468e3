"""What the connector must know of the engine it runs in, and the engines that it refuses to run in."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub import snapshot_download
from vllm.distributed.parallel_state import get_pp_group, get_tp_group
from vllm.model_executor.models.utils import extract_layer_index
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig

from planner.errors import KvTransferError
from runtime.connector.jobs import Share
from runtime.connector.layouts import PageLayout, page_layout, self_test
from runtime.tiles.geometry import Geometry

if TYPE_CHECKING:
    from vllm.config import ModelConfig, VllmConfig


class EngineRefused(KvTransferError):
    """KV of this engine can't be transferred: it must not start with the connector."""


def check_engine(config: "VllmConfig", kv_cache: KVCacheConfig) -> FullAttentionSpec:
    """The one kind of KV cache that the engine has. Raises EngineRefused naming what the connector can't handle."""
    groups, parallel = kv_cache.kv_cache_groups, config.parallel_config
    if len(groups) != 1:
        raise EngineRefused(f"The model has {len(groups)} KV cache groups; expected 1 (full attention in all layers).")
    spec = groups[0].kv_cache_spec
    if type(spec) is not FullAttentionSpec:
        raise EngineRefused(f"The model's KV cache is {type(spec).__name__}; expected full attention, no MLA or Mamba.")
    if spec.sliding_window is not None or spec.attention_chunk_size is not None:
        raise EngineRefused("The model attends within windows or chunks; expected full attention.")
    if spec.head_size_v != spec.head_size or spec.num_heads != spec.num_kv_heads:
        raise EngineRefused("The model's K and V heads differ in size, or are packed; expected equal ones.")
    if spec.dtype != config.model_config.dtype:
        raise EngineRefused(f"The KV cache holds {spec.dtype}; expected the model's {config.model_config.dtype}.")
    if config.speculative_config is not None:
        raise EngineRefused("Speculative decoding is on; expected it off.")
    if parallel.decode_context_parallel_size > 1 or parallel.prefill_context_parallel_size > 1:
        raise EngineRefused("Context parallelism is on; expected it off.")
    return spec


def geometry_of(config: "VllmConfig", spec: FullAttentionSpec) -> Geometry:
    """The whole model's, not this rank's."""
    return Geometry(
        layers=config.model_config.get_total_num_hidden_layers(),
        kv_heads=config.model_config.get_total_num_kv_heads(),
        head_dim=spec.head_size,
        dtype=str(spec.dtype).removeprefix("torch."),
    )


def settings_of(config: "ModelConfig") -> dict[str, Any]:
    """The model's configuration as this engine has it: `--hf-overrides` are in it."""
    settings: dict[str, Any] = config.hf_config.to_dict()
    return settings


def weights_of(config: "VllmConfig") -> str:
    """The folder of the model's files; of a model given by name, its snapshot in the hub's cache.

    Where that can't be told, name and revision: two hosts may then hold another `main` under one name.
    """
    model = config.model_config
    if Path(model.model).is_dir():
        return str(model.model)
    try:
        cache = config.load_config.download_dir
        folder = Path(snapshot_download(model.model, revision=model.revision, cache_dir=cache, local_files_only=True))
    except (OSError, ValueError):  # No cache has it, or it is no name of the hub's.
        return f"{model.model}@{model.revision or 'main'}"
    held = any(folder.glob("*.safetensors")) or any(folder.glob("*.bin"))
    return str(folder) if held else f"{model.model}@{folder.name}"


def global_rank(config: "VllmConfig") -> int:
    return int(
        get_pp_group().rank_in_group * config.parallel_config.tensor_parallel_size + get_tp_group().rank_in_group
    )


def heads_of(kv_heads: int, tp: int, tp_rank: int) -> tuple[tuple[int, int], bool]:
    """The KV heads of a tensor-parallel rank, and whether it is the lowest of the ranks that share them."""
    if tp <= kv_heads:
        each = kv_heads // tp
        return (tp_rank * each, (tp_rank + 1) * each), True
    sharing = tp // kv_heads
    head = tp_rank // sharing
    return (head, head + 1), tp_rank % sharing == 0


def caches_by_layer(kv_caches: dict[str, torch.Tensor]) -> dict[int, torch.Tensor]:
    """A rank's KV tensors by global layer, which must be consecutive."""
    caches = {extract_layer_index(name): cache for name, cache in kv_caches.items()}
    layers = sorted(caches)
    if len(caches) != len(kv_caches) or layers != list(range(layers[0], layers[0] + len(layers))):
        raise EngineRefused(f"This rank's KV caches are {', '.join(kv_caches)}; expected one a layer, consecutive.")
    return {layer: caches[layer] for layer in layers}


def share_of(config: "VllmConfig", geometry: Geometry, caches: dict[int, torch.Tensor]) -> Share:
    tp = config.parallel_config.tensor_parallel_size
    heads, writes = heads_of(geometry.kv_heads, tp, get_tp_group().rank_in_group)
    return Share((min(caches), max(caches) + 1), heads, writes)


def tested_layout(config: "VllmConfig", kv_caches: dict[str, torch.Tensor], spec: FullAttentionSpec) -> PageLayout:
    """The layout of this engine's pages, proven on its own backend. Raises LayoutUnknown, EngineRefused."""
    name, cache = next(iter(kv_caches.items()))
    attention = config.compilation_config.static_forward_context[name]
    layout = page_layout(attention.get_attn_backend().get_name(), getattr(attention, "isa", ""))
    expected = (spec.num_kv_heads, 2 * spec.head_size)
    if cache.dim() != 4 or (cache.shape[1], cache.shape[3]) != expected or spec.block_size % cache.shape[2]:
        raise EngineRefused(
            f"A KV cache tensor is {tuple(cache.shape)}; expected blocks, {expected[0]} heads, slots, KV."
        )
    self_test(layout, attention, cache)
    return layout
