# Every target is safe to run again.
PYTHON ?= python3.11
export PYTHON
# Hundreds of processes that tests start would each compile what they import, and pytest every test file anew.
unexport PYTHONDONTWRITEBYTECODE
# Whole test files at a time, in the order that tests/conftest.py gives them: quick ones wait for a third of their time,
# so that three keep two cores busy; engines don't.
TOGETHER = --dist loadfile --no-loadscope-reorder -n

.PHONY: help setup system-deps demo test test-quick test-engine lab soak check bench figures pages

help:  ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

setup: .venv/.lock-installed .venv-engine/.lock-installed  ## make .venv and .venv-engine from the committed locks

.venv/.lock-installed: requirements/control.txt requirements/bootstrap.txt requirements/install.sh pyproject.toml
	@requirements/install.sh control && touch $@

.venv-engine/.lock-installed: requirements/engine.txt requirements/bootstrap.txt requirements/install.sh pyproject.toml | .venv/.lock-installed
	@requirements/install.sh engine && touch $@

.venv-benchmarks/.lock-installed: requirements/benchmarks.txt requirements/install.sh | .venv/.lock-installed
	@requirements/install.sh benchmarks && touch $@

.venv-peers/.lock-installed: requirements/peers.txt requirements/install.sh | .venv/.lock-installed
	@requirements/install.sh peers && touch $@

system-deps:  ## install the system packages that some tests want (Debian, Ubuntu)
	@requirements/system-deps.sh

demo:  ## the whole life of a deployment on this machine, told in plain words (7 GB of disk)
	@requirements/room.sh
	@$(MAKE) --no-print-directory setup
	@examples/demo.sh

test: test-quick test-engine  ## every test; the engines last

test-quick: setup  # the tests of the engine environment run beside the others, and are shown after them
	@shown=$$(mktemp); trap 'rm -f $$shown' EXIT; \
	.venv-engine/bin/python -m pytest -q -m "engine_env and not engine and not soak" tests >$$shown 2>&1 & beside=$$!; \
	.venv/bin/pytest -q -m "not engine and not soak" $(TOGETHER) 3 tests; failed=$$?; \
	wait $$beside || failed=1; cat $$shown; exit $$failed

test-engine: setup  # the same, where there are 14 GB of memory free for ten engines; those that measure are alone
	@shown=$$(mktemp); trap 'rm -f $$shown' EXIT; ended=; \
	.venv-engine/bin/python -m pytest -q -m "engine_env and engine and not soak" tests >$$shown 2>&1 & beside=$$!; \
	if awk '/^MemAvailable/ { exit $$2 > 14e6 }' /proc/meminfo; then wait $$beside; ended=$$?; fi; \
	.venv/bin/pytest -q -m "engine and not alone and not soak" $(TOGETHER) 2 tests; failed=$$?; \
	[ "$$ended" ] || { wait $$beside; ended=$$?; }; cat $$shown; [ $$failed$$ended = 00 ]
	.venv/bin/pytest -q -m "engine and alone and not soak" tests

lab: setup  ## unlike hosts with real networks on this machine, loaded and broken: benchmarks/results/lab.md (root on Linux)
	.venv/bin/python -m benchmarks.lab

soak: setup  ## an hour: tests' further variations, KV transfers with faults, requests by the thousand, a kill every minute
	.venv/bin/pytest -q -m soak tests
	.venv-engine/bin/python -m pytest -q -m "engine_env and soak" tests
	.venv/bin/pytest -q -m hypothesis --hypothesis-profile=thorough tests
	.venv-engine/bin/python -m pytest -q -m "engine_env and hypothesis" --hypothesis-profile=thorough tests
	THUNDER_SOAK_ROUNDS=20 .venv/bin/pytest -q tests/runtime/relay/test_soak.py
	THUNDER_FUZZ_CASES=5000 .venv/bin/pytest -q tests/runtime/router/surface/test_fuzz.py
	.venv/bin/python -m benchmarks.router_soak
	.venv/bin/python -m benchmarks.lab --rounds 5

check: .venv/.lock-installed  ## format, lint, types, layers
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

figures: .venv/.lock-installed  ## docs/images: the pictures, from the data in benchmarks/results
	.venv/bin/python -m benchmarks.figures

pages: setup  ## the manual page and the list of licences, from the code and the locks
	.venv/bin/python -m thunderctl.cli.manual > docs/thunderctl.1
	.venv/bin/python -m requirements.licences > docs/licences.md

bench: setup .venv-benchmarks/.lock-installed .venv-peers/.lock-installed  ## the published measurements that need no cloud: benchmarks/results/*.md
	.venv/bin/python -m benchmarks.cost_model
	.venv/bin/python -m benchmarks.replica_rates
	.venv/bin/python -m benchmarks.simulator
	.venv/bin/python -m benchmarks.simulator_vs_engines
	.venv/bin/python -m benchmarks.rebalance
	.venv/bin/python -m benchmarks.controller_at_scale
	.venv/bin/python -m benchmarks.adapting_day
	.venv/bin/python -m benchmarks.failover
	.venv/bin/python -m benchmarks.self_flip
	.venv/bin/python -m benchmarks.search
	.venv/bin/python -m benchmarks.baselines
	.venv/bin/python -m benchmarks.budgets
	.venv/bin/python -m benchmarks.through_failure
	.venv/bin/python -m benchmarks.paper
	PYTHONPATH=.venv-benchmarks .venv/bin/python -m benchmarks.second_opinion
	.venv/bin/python -m benchmarks.peers
	.venv/bin/python -m benchmarks.leases
	.venv/bin/python -m benchmarks.router
	.venv/bin/python -m benchmarks.router_streams
	.venv/bin/python -m benchmarks.up
	.venv/bin/python -m benchmarks.router_epochs
	.venv/bin/python -m benchmarks.router_policy
	.venv/bin/python -m benchmarks.kv_relay
	.venv-engine/bin/python -m benchmarks.kv_wire_ratio
	.venv-engine/bin/python -m benchmarks.kv_codec
	.venv-engine/bin/python -m benchmarks.gpu
	.venv/bin/python -m benchmarks.kv_crossover
	.venv/bin/python -m benchmarks.kv_streamed
