# Every target is safe to run again.
PYTHON ?= python3.11
export PYTHON
# Two test files at a time, in the order that tests/conftest.py gives them.
TOGETHER = -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: help setup system-deps demo test test-quick test-engine soak check bench

help:  ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

setup: .venv/.lock-installed .venv-engine/.lock-installed  ## make .venv and .venv-engine from the committed locks

.venv/.lock-installed: requirements/control.txt requirements/bootstrap.txt requirements/install.sh pyproject.toml
	@requirements/install.sh control && touch $@

.venv-engine/.lock-installed: requirements/engine.txt requirements/bootstrap.txt requirements/install.sh pyproject.toml | .venv/.lock-installed
	@requirements/install.sh engine && touch $@

.venv-benchmarks/.lock-installed: requirements/benchmarks.txt requirements/install.sh | .venv/.lock-installed
	@requirements/install.sh benchmarks && touch $@

system-deps:  ## install the system packages that some tests want (Debian, Ubuntu)
	@requirements/system-deps.sh

demo: setup  ## the whole life of a deployment on this machine, told in plain words
	@examples/demo.sh

test: test-quick test-engine  ## every test; the engines last

test-quick: setup
	.venv/bin/pytest -q -m "not engine and not soak" $(TOGETHER) tests
	.venv-engine/bin/python -m pytest -q -m "engine_env and not engine and not soak" tests

test-engine: setup
	.venv-engine/bin/python -m pytest -q -m "engine_env and engine and not soak" tests
	.venv/bin/pytest -q -m "engine and not alone and not soak" $(TOGETHER) tests
	.venv/bin/pytest -q -m "engine and alone and not soak" tests

soak: setup  ## an hour: tests' further variations, KV transfers with faults, requests by the thousand, a kill every minute
	.venv/bin/pytest -q -m soak tests
	.venv-engine/bin/python -m pytest -q -m "engine_env and soak" tests
	THUNDER_SOAK_ROUNDS=20 .venv/bin/pytest -q tests/runtime/relay/test_soak.py
	THUNDER_FUZZ_CASES=5000 .venv/bin/pytest -q tests/runtime/router/surface/test_fuzz.py
	.venv/bin/python -m benchmarks.router_soak

check: .venv/.lock-installed  ## format, lint, types, layers
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: setup .venv-benchmarks/.lock-installed  ## the published measurements that need no cloud: benchmarks/results/*.md
	.venv/bin/python -m benchmarks.cost_model
	.venv/bin/python -m benchmarks.replica_rates
	.venv/bin/python -m benchmarks.simulator
	.venv/bin/python -m benchmarks.simulator_vs_engines
	.venv/bin/python -m benchmarks.rebalance
	.venv/bin/python -m benchmarks.controller_at_scale
	.venv/bin/python -m benchmarks.search
	.venv/bin/python -m benchmarks.baselines
	.venv/bin/python -m benchmarks.paper
	PYTHONPATH=.venv-benchmarks .venv/bin/python -m benchmarks.second_opinion
	.venv/bin/python -m benchmarks.leases
	.venv/bin/python -m benchmarks.router
	.venv/bin/python -m benchmarks.router_streams
	.venv/bin/python -m benchmarks.up
	.venv/bin/python -m benchmarks.router_epochs
	.venv/bin/python -m benchmarks.router_policy
	.venv/bin/python -m benchmarks.kv_relay
	.venv-engine/bin/python -m benchmarks.kv_wire_ratio
	.venv-engine/bin/python -m benchmarks.kv_codec
	.venv/bin/python -m benchmarks.kv_crossover
	.venv/bin/python -m benchmarks.kv_streamed
