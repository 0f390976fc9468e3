"""The connector in vLLM's own frame around a forward pass, which the model may leave by an exception."""

import warnings
from types import SimpleNamespace

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, while vLLM is imported
    from vllm.v1.worker import kv_connector_model_runner_mixin as frame

    from runtime.connector.connector import ThunderConnector, ThunderMetadata
    from runtime.connector.jobs import Step

pytestmark = pytest.mark.engine_env


@pytest.fixture
def finished(monkeypatch):
    """What the worker's saver was told at the end of steps: the step, and what broke it."""
    told = []
    connector = ThunderConnector.__new__(ThunderConnector)
    connector._connector_metadata = None
    connector._worker = SimpleNamespace(
        saver=SimpleNamespace(finish=lambda step, fault: told.append((step, fault))),
        start=lambda _step: None,
        rest=lambda _step: None,
        outcome=lambda: SimpleNamespace(received=set(), failed=set()),
    )
    monkeypatch.setattr(frame, "get_kv_transfer_group", lambda: connector)
    monkeypatch.setattr(frame, "get_forward_context", lambda: SimpleNamespace(attn_metadata=object()))
    return told


def forward(step, model):
    scheduled = SimpleNamespace(
        kv_connector_metadata=ThunderMetadata(step), has_sync_kv_loads=False, finished_req_ids=set()
    )
    with frame.KVConnectorModelRunnerMixin._get_kv_connector_output(scheduled):
        model()


def test_a_model_that_raises_is_known_when_the_step_ends(finished):
    step = Step()
    with pytest.raises(ZeroDivisionError):
        forward(step, lambda: 1 / 0)
    ((ended, fault),) = finished
    assert ended is step
    assert isinstance(fault, ZeroDivisionError)


def test_a_step_that_goes_well_has_no_fault_and_neither_has_one_after_a_failure(finished):
    with pytest.raises(ZeroDivisionError):
        forward(Step(), lambda: 1 / 0)
    forward(Step(), lambda: None)
    assert finished[-1] == (Step(), None)
