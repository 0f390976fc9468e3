"""`ThunderConnector`: what vLLM loads by `kv_connector_module_path`.

One instance lives in the scheduler's process, one in each worker. What a step computes of a prompt that is handed on is
copied out in that step, so preemption needs no handling: no blocks are held, and a request that waits for its KV does
not run. Extra configuration: `agent_socket`, `boundary_layers` (2), `replica`, `recompute_tokens_per_s`
(1000), and `fetch_timeout_s` (20): how long a load may wait to begin while no other comes, and then without a byte.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from vllm.distributed.kv_transfer.kv_connector.v1.base import (
    KVConnectorBase_V1,
    KVConnectorMetadata,
    KVConnectorRole,
    KVConnectorTransferResults,
    SupportsHMA,
)
from vllm.model_executor.models.utils import extract_layer_index
from vllm.v1.metrics.cache_hit_source import CacheHitSource

from runtime.codec.choice import Choice, quickest
from runtime.connector.jobs import Step
from runtime.connector.model import (
    caches_by_layer,
    check_engine,
    geometry_of,
    global_rank,
    settings_of,
    share_of,
    tested_layout,
    weights_of,
)
from runtime.connector.recompute import TOKENS_PER_S
from runtime.connector.scheduler import Computed, SchedulerSide
from runtime.connector.worker import WorkerSide
from runtime.fingerprint import binding, model_fingerprint
from runtime.relay.door import AgentDoor

if TYPE_CHECKING:
    import torch
    from vllm.config import VllmConfig
    from vllm.forward_context import ForwardContext
    from vllm.v1.attention.backend import AttentionMetadata
    from vllm.v1.core.kv_cache_manager import KVCacheBlocks
    from vllm.v1.core.sched.output import KVConnectorBlockState, SchedulerOutput
    from vllm.v1.kv_cache_interface import KVCacheConfig
    from vllm.v1.outputs import KVConnectorOutput
    from vllm.v1.request import Request


@dataclass(frozen=True, slots=True)
class ThunderMetadata(KVConnectorMetadata):  # type: ignore[misc]
    """Crosses by pickle inside one engine, as all of vLLM's metadata does."""

    step: Step


class ThunderConnector(KVConnectorBase_V1, SupportsHMA):  # type: ignore[misc]
    """Hands a prompt's KV to the agent as tiles, as it is computed; fills prompts that wait with tiles from others."""

    _cache_hit_source = CacheHitSource.P2P

    def __init__(self, vllm_config: "VllmConfig", role: KVConnectorRole, kv_cache_config: "KVCacheConfig") -> None:
        super().__init__(vllm_config, role, kv_cache_config)
        self._spec = check_engine(vllm_config, kv_cache_config)
        self._geometry = geometry_of(vllm_config, self._spec)
        self._socket = str(self._extra("agent_socket", "run/connector.sock"))
        self._fetch_timeout_s = float(self._extra("fetch_timeout_s", 20.0))
        self._scheduler: SchedulerSide | None = None
        self._worker: WorkerSide | None = None
        if role is KVConnectorRole.SCHEDULER:
            self._scheduler = self._scheduler_side(int(self._extra("boundary_layers", 2)))

    def _scheduler_side(self, boundary_layers: int) -> SchedulerSide:
        model = self._vllm_config.model_config
        return SchedulerSide(
            self._door(rank=None),
            geometry=self._geometry,
            bind=partial(binding, model_fingerprint(weights_of(self._vllm_config), settings_of(model)), self._geometry),
            block_size=self._spec.block_size,
            ranks=self._vllm_config.parallel_config.world_size,
            boundary_layers=boundary_layers,
            recompute_tokens_per_s=float(self._extra("recompute_tokens_per_s", TOKENS_PER_S)),
        )

    def _extra(self, key: str, default: Any) -> Any:
        return self._vllm_config.kv_transfer_config.get_from_extra_config(key, default)

    def _door(self, rank: int | None) -> AgentDoor:
        """Without an agent an engine does not start."""
        replica = str(self._extra("replica", ""))
        door = AgentDoor(self._socket, owner=self._kv_transfer_config.engine_id, rank=rank, replica=replica)
        door.open()
        return door

    # In a worker.

    def register_kv_caches(self, kv_caches: "dict[str, torch.Tensor]") -> None:
        layout = tested_layout(self._vllm_config, kv_caches, self._spec)
        caches = caches_by_layer(kv_caches)
        codec = Choice(partial(quickest, self._geometry, next(iter(caches.values())).device))
        codec.start()
        self._worker = WorkerSide(
            self._door(rank=global_rank(self._vllm_config)),
            share=share_of(self._vllm_config, self._geometry, caches),
            layout=layout,
            caches=caches,
            block_size=self._spec.block_size,
            fetch_timeout_s=self._fetch_timeout_s,
            ranks=self._vllm_config.parallel_config.world_size,
            codec=codec,
        )

    def start_load_kv(self, forward_context: "ForwardContext", **kwargs: Any) -> None:
        assert self._worker is not None
        step = self._step()
        self._worker.start(step)
        if forward_context.attn_metadata is None:
            self._worker.rest(step)

    def wait_for_layer_load(self, layer_name: str) -> None:
        """Loads are over before their request is scheduled."""

    def save_kv_layer(
        self, layer_name: str, kv_layer: "torch.Tensor", attn_metadata: "AttentionMetadata", **kwargs: Any
    ) -> None:
        if (step := self._step()).saves:
            assert self._worker is not None
            self._worker.saver.computed(extract_layer_index(layer_name), step)

    def wait_for_save(self) -> None:
        """vLLM calls it in a `finally`: also where the model raised, and has computed who knows what."""
        assert self._worker is not None
        self._worker.saver.finish(self._step(), sys.exception())

    def _step(self) -> Step:
        metadata = self._get_connector_metadata()
        assert isinstance(metadata, ThunderMetadata)
        return metadata.step

    def get_transfer_results(self, finished_req_ids: set[str]) -> KVConnectorTransferResults:
        assert self._worker is not None
        done = self._worker.outcome()
        return KVConnectorTransferResults(set(), done.received, done.failed)

    # In the scheduler.

    def on_new_request(self, request: "Request") -> None:
        assert self._scheduler is not None
        self._scheduler.arrived(request)

    def get_num_new_matched_tokens(self, request: "Request", num_computed_tokens: int) -> tuple[int | None, bool]:
        assert self._scheduler is not None
        return self._scheduler.matched(request, num_computed_tokens)

    def update_state_after_alloc(self, request: "Request", blocks: "KVCacheBlocks", num_external_tokens: int) -> None:
        assert self._scheduler is not None
        self._scheduler.allocated(request, blocks.get_block_ids()[0], num_external_tokens)

    def build_connector_meta(self, scheduler_output: "SchedulerOutput") -> KVConnectorMetadata:
        assert self._scheduler is not None
        return ThunderMetadata(self._scheduler.step(_computed(scheduler_output)))

    def update_connector_output(self, connector_output: "KVConnectorOutput") -> None:
        assert self._scheduler is not None
        self._scheduler.received(connector_output.finished_recving or (), connector_output.failed_recving)

    def request_finished_all_groups(
        self, request: "Request", block_ids: tuple[list[int], ...]
    ) -> tuple[bool, dict[str, Any] | None]:
        """Its blocks need not be held: each step copies out what it computed."""
        assert self._scheduler is not None
        return False, self._scheduler.finished(request)

    def get_loaded_kv_cache_group_ids(self, request: "Request") -> tuple[int, ...]:
        return tuple(self._kv_cache_config.transfer_group_ids)

    # In both.

    def shutdown(self) -> None:
        if self._worker is not None:
            self._worker.close()
        if self._scheduler is not None:
            self._scheduler.close()


def _computed(scheduled: "SchedulerOutput") -> Iterator[Computed]:
    """What a step will have computed, request by request."""
    blocks, going_on = scheduled.kv_connector_block_state, scheduled.scheduled_cached_reqs
    before = {new.req_id: new.num_computed_tokens for new in scheduled.scheduled_new_reqs}
    before |= zip(going_on.req_ids, going_on.num_computed_tokens, strict=True)
    for request_id, count in scheduled.num_scheduled_tokens.items():
        yield request_id, before[request_id] + count, partial(_blocks_of, blocks, request_id)


def _blocks_of(blocks: "KVConnectorBlockState", request_id: str) -> Sequence[int]:
    own: Sequence[int] = blocks.get_block_ids(request_id)[0]
    return own
