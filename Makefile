# The commands CI runs. Everything a person needs: `make help`.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
UV_VERSION := 0.13.8
CACHE := $(or $(CLARA_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/clara)
UV := $(CACHE)/uv-$(UV_VERSION)/bin/uv
BIN := .venv/bin
CLUSTER := $(PYTHON) hack/local-cluster

.PHONY: help
help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

# -- development environment ------------------------------------------------------------------------------------------
$(UV):
	@$(PYTHON) -m venv $(CACHE)/uv-$(UV_VERSION)
	@$(CACHE)/uv-$(UV_VERSION)/bin/pip install --quiet uv==$(UV_VERSION)

.venv/.ready: $(UV) pyproject.toml uv.lock
	@echo "installing the locked environment into .venv (about 6 GB the first time)"
	@UV_LINK_MODE=$${UV_LINK_MODE:-hardlink} $(UV) sync --quiet --frozen --compile-bytecode --python $(PYTHON) --extra operator --extra gateway --extra trainer --extra engine
	@touch $@

.PHONY: venv
venv: .venv/.ready ## make the locked Python environment in .venv

# -- checks -----------------------------------------------------------------------------------------------------------
.PHONY: check
check: .venv/.ready ## format, lint, types, layers, rendered files and unit tests, in under a minute
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo 2>&1 | tail -3
	@$(BIN)/python crds/render.py --check
	@OMP_NUM_THREADS=1 $(BIN)/pytest -q -n auto --dist loadfile -m "not slow" tests/unit

.PHONY: render
render: .venv/.ready ## write crds/*.yaml, the chart's copy and docs/conditions.md from the models
	@$(BIN)/python crds/render.py

.PHONY: format
format: .venv/.ready ## format the code
	@$(BIN)/ruff format --quiet . && $(BIN)/ruff check --quiet --fix .

# -- cluster ----------------------------------------------------------------------------------------------------------
.PHONY: cluster-up
cluster-up: ## bring up the local Kubernetes (or check the one of KUBECONFIG with CLARA_CLUSTER=existing)
	@$(CLUSTER) up

.PHONY: cluster-down
cluster-down: ## stop the local cluster and leave nothing running
	@$(CLUSTER) down

.PHONY: images
images: ## build all images and push them to the registry
	@$(PYTHON) images/build.py

.PHONY: install
install: .venv/.ready cluster-up images ## install Clara into the cluster with its Helm chart
	@$(BIN)/python hack/clara_install.py

# -- the whole thing --------------------------------------------------------------------------------------------------
.PHONY: test
test: cluster-up check images ## every test: unit, contract, and the scenarios on the real cluster
	@$(BIN)/pytest -q --durations=5 tests/contract
	@CLARA_TESTS_MAY_REPLACE=1 $(BIN)/pytest -v --durations=10 tests/cluster

.PHONY: demo
demo: install ## from manifests to answers: train, evaluate, approve, serve, change versions
	@$(BIN)/python hack/demo/demo.py

.PHONY: gpu
gpu: .venv/.ready ## what needs an NVIDIA GPU: every method, several GPUs, share of the matrix units
	@$(BIN)/pytest -q -s --timeout=600 tests/gpu

.PHONY: bench
bench: .venv/.ready ## measure the gateway, approval to verified, the operator at rest (after make demo), and training beside trl
	@$(BIN)/python tests/bench/gateway_cpu.py
	@$(BIN)/python tests/bench/lifecycle.py
	@$(BIN)/python tests/bench/training.py
