# Everything runs in .venv, which `make setup` builds from requirements/*.txt.
# Needed on the machine: Python 3.11 or newer with venv, make, a package index.
PYTHON ?= python3
UV     := .tools/bin/uv
BIN    := .venv/bin
READY  := .venv/.ready
SINK   := .bugsink/.ready
MODELS := .matrix/.ready
# Tests mostly wait: more at once than there are processors.
WORKERS ?= 4
# The frameworks of .matrix are not in .venv: mypy takes what they define for Any.
OF_MODELS := matrix parity
UNKNOWN := --ignore-missing-imports --allow-untyped-decorators --allow-subclassing-any
PROGRAMS := $(filter-out $(OF_MODELS:%=tests/%/programs),$(wildcard tests/*/programs tests/unit/*/*/programs))
FAST := not process and not vault and not server and not slow and not alone
ELSEWHERE := --ignore tests/cluster --ignore tests/matrix --ignore tests/parity
ON_VAULT = RESENTRY_TEST_VAULT=$$($(BIN)/python -m lab.golang lab/hashicorp) && export RESENTRY_TEST_VAULT && $(BIN)/pytest
COMPILE := $(UV) pip compile -q --universal --python-version 3.11 \
	--generate-hashes --no-header --no-annotate --no-emit-package resentry

# Tests start thousands of processes: none shall compile again what it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup image image-tools image-example dist test-dist picture demo unit test test-together test-alone matrix parity vault test-vault test-vault-together test-vault-alone test-versions cluster-test crash hammer check format bench soak docs lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## build .venv: both distributions editable, the servers, the tools

$(UV): requirements/uv.txt
	@echo "==> getting uv"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "resentry needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ...")'
	@$(PYTHON) -m venv .tools
	@.tools/bin/pip install -q --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

$(READY): $(UV) requirements/dev.txt pyproject.toml client/pyproject.toml
	@echo "==> building .venv from requirements/dev.txt"
	@$(UV) venv -q --allow-existing --python $(PYTHON) .venv
	@$(UV) pip sync -q --compile-bytecode --python $(BIN)/python --require-hashes requirements/dev.txt
	@$(UV) pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e client -e .
	@touch $@

$(SINK): $(UV) requirements/bugsink.txt
	@echo "==> building .bugsink, Bugsink's own environment"
	@$(UV) venv -q --allow-existing --python $(PYTHON) .bugsink
	@$(UV) pip sync -q --compile-bytecode --python .bugsink/bin/python --require-hashes requirements/bugsink.txt
	@touch $@

$(MODELS): $(UV) requirements/matrix.txt client/pyproject.toml
	@echo "==> building .matrix, the environment of the process models; uWSGI needs a C compiler"
	@$(UV) venv -q --allow-existing --python $(PYTHON) .matrix
	@$(UV) pip sync -q --compile-bytecode --python .matrix/bin/python --require-hashes -b requirements/matrix.txt requirements/matrix.txt
	@$(UV) pip install -q --python .matrix/bin/python --no-deps --no-build-isolation -e client
	@touch $@

image: $(READY) ## the agent's image with buildah, as root; prints the docker-archive's path
	@$(BIN)/python -m lab.images agent

image-tools: $(READY) ## the same with what operators' commands need
	@$(BIN)/python -m lab.images tools

image-example: $(READY) ## the same of examples/lms
	@$(BIN)/python -m lab.images example

dist: $(READY) ## both distributions, each as wheel and source: dist/
	@rm -rf dist
	@cd client && ../$(BIN)/python -m hatchling build -d ../dist
	@$(BIN)/python -m hatchling build -d dist

INSTALLED := build/installed
test-dist: dist ## the wheels of dist/ as installed, in a copy that lacks their source
	@rm -rf $(INSTALLED) && mkdir -p $(INSTALLED)
	@cp -R tests lab examples pyproject.toml README.md docs $(INSTALLED)/
	@$(UV) venv -q --python $(PYTHON) $(INSTALLED)/.venv
	@$(UV) pip sync -q --python $(INSTALLED)/.venv/bin/python --compile-bytecode --require-hashes requirements/dev.txt
	@$(UV) pip install -q --python $(INSTALLED)/.venv/bin/python --no-deps --no-index dist/*.whl
	@$(UV) pip check -q --python $(INSTALLED)/.venv/bin/python
	@cd $(INSTALLED) && .venv/bin/python -m pytest tests/contract tests/e2e/test_command.py tests/e2e/test_rotation.py -k "not bugsink"

picture: $(READY) ## run the demo, and draw what it printed: docs/demo.svg
	@mkdir -p build && $(BIN)/python -m lab.demo >build/demo.txt
	@$(BIN)/python -m lab.picture <build/demo.txt >docs/demo.svg

demo: $(READY) $(if $(UI),$(SINK)) ## rotate a DSN under traffic; JSON=1 one object, UI=1 with Bugsink's page
	@$(BIN)/python -m lab.demo $(if $(JSON),--json) $(if $(UI),--ui)

unit: $(READY) ## the pure and the fast of tests/unit and tests/contract, in seconds
	@$(BIN)/pytest -q -m "$(FAST)" $$(grep -rLE '^pytestmark = .*(process|vault)' --include='test_*.py' tests/unit tests/contract)

test: test-together test-alone ## every test but matrix, parity and cluster-test: about 25 minutes
	@echo "==> not run here: make matrix (process models), make parity (features of sentry-sdk), make test-vault (HashiCorp's own)"
	@$(BIN)/python -m lab.cluster

test-together: $(READY) $(SINK) ## the tests that mostly wait, WORKERS=4 at once; SEED=7 in a random order
	@echo "==> the tests that mostly wait, $(WORKERS) at once: about 20 minutes"
	@$(BIN)/pytest -n $(WORKERS) --dist loadgroup -m "not alone and not cluster" $(ELSEWHERE) $(if $(SEED),--seed $(SEED))

test-alone: $(READY) $(SINK) ## the tests that measure time or memory, one by one
	@echo "==> the tests that measure time or memory, one by one: about 5 minutes"
	@$(BIN)/pytest -m "alone and not cluster" $(ELSEWHERE)

matrix: $(READY) $(MODELS) ## every process model: rotations under load, beside plain sentry-sdk
	@$(BIN)/pytest -n 3 tests/matrix

parity: $(READY) $(MODELS) ## each feature of sentry-sdk, with and without us: whole envelopes
	@$(BIN)/pytest -n 3 tests/parity

vault: $(READY) ## build HashiCorp Vault, for tests alone; print the program's path
	@$(BIN)/python -m lab.golang lab/hashicorp

test-vault: test-vault-together test-vault-alone ## the tests of what Vault answers, on HashiCorp's own

test-vault-together: $(READY) $(SINK) ## those of them that mostly wait, WORKERS=4 at once
	@$(ON_VAULT) -n $(WORKERS) --dist loadgroup -m "vault and not alone and not cluster" $(ELSEWHERE)

test-vault-alone: $(READY) ## those of them that measure time, one by one
	@$(ON_VAULT) -m "vault and alone and not cluster" $(ELSEWHERE)

test-versions: $(READY) ## the client's tests on every Python and sentry-sdk it supports
	@$(BIN)/python -m lab.versions

cluster-test: $(READY) ## in a Kubernetes node, as root; with IMAGE=NAME KUBECONFIG=FILE in yours
	@$(BIN)/pytest tests/kubernetes -m cluster
	@RESENTRY_TEST_CLUSTER=must RESENTRY_TEST_IMAGE=$(IMAGE) $(BIN)/pytest tests/cluster

crash: $(READY) ## kill the agent's writer at every call that changes the volume
	@$(BIN)/pytest -q tests/faults/test_crash.py

hammer: $(READY) ## 100,000 reads by several processes under continuous publishing
	@$(BIN)/pytest -q tests/faults/test_hammer.py

check: $(READY) ## ruff, ruff format, mypy strict, import-linter, deptry, hadolint, zizmor
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy
	@$(BIN)/mypy $(PROGRAMS)
	@for of in $(OF_MODELS); do \
	  MYPYPATH=client:tests/$$of/programs $(BIN)/mypy $(UNKNOWN) tests/$$of/programs/*.py || exit; done
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/deptry agent
	@cd client && ../$(BIN)/deptry resentry
	@$(BIN)/hadolint Dockerfile examples/lms/Dockerfile
	@$(BIN)/zizmor --offline --quiet --persona pedantic .

format: $(READY) ## let ruff rewrite what it can
	@$(BIN)/ruff check --quiet --fix . || true
	@$(BIN)/ruff format .

bench: $(READY) ## every benchmark, half an hour, or ONLY="agent fleet"; writes bench/RESULTS.md, and docs/
	@$(BIN)/python -m bench $(ONLY)
	@$(BIN)/python -m docs.generate

bench-%: $(READY) ## one of them: bench-agent, bench-fleet, ...
	@$(BIN)/python -m bench $*

soak: $(READY) ## three agents at once under faults, 32 minutes, whether they grow: bench/results/soak.json
	@$(BIN)/python -m bench.soak --seconds $(or $(SECONDS),1920) --runs $(or $(RUNS),3)

docs: $(READY) ## regenerate settings, metrics and commands in docs/, and bench/RESULTS.md
	@$(BIN)/python -m docs.generate
	@$(BIN)/python -m bench.page

lock: $(UV) ## resolve requirements/*.txt anew
	@$(COMPILE) --upgrade pyproject.toml client/pyproject.toml -o requirements/agent.txt
	@$(COMPILE) --upgrade --extra kubernetes --extra bridge -c requirements/agent.txt pyproject.toml client/pyproject.toml -o requirements/tools.txt
	@$(COMPILE) --upgrade --group dev --all-extras -c requirements/tools.txt pyproject.toml client/pyproject.toml -o requirements/dev.txt
	@$(COMPILE) --upgrade --group example -c requirements/dev.txt client/pyproject.toml -o requirements/example.txt
	@$(COMPILE) --upgrade -c requirements/dev.txt requirements/build.in -o requirements/build.txt
	@$(subst 3.11,3.10,$(COMPILE)) --upgrade -c requirements/dev.txt requirements/versions.in -o requirements/versions.txt
	@$(COMPILE) --upgrade -c requirements/dev.txt requirements/eventlet.in -o requirements/eventlet.txt
	@$(COMPILE) --upgrade requirements/bugsink.in -o requirements/bugsink.txt
	@$(COMPILE) --upgrade -c requirements/agent.txt requirements/matrix.in client/pyproject.toml -o requirements/matrix.txt
	@$(COMPILE) --upgrade requirements/uv.in -o requirements/uv.txt
	@$(COMPILE) --upgrade requirements/go.in -o requirements/go.txt

clean: ## remove what the other targets made
	@rm -rf .venv .tools .bugsink .matrix .versions build dist
