# Everything runs from a bare Python 3.11+: the first call of a target creates a virtual environment from
# the hash-pinned lock files, later calls reuse it.
#
#   make serve [ARGS="--port 8000"]   chat with a coach on localhost
#   make test  [ARGS="-k runtime"]    the whole suite
#   make lint                         ruff and mypy --strict
#   make test-peers                   fetch and build the tests' non-Python dependencies (once)
#   make deploy [ARGS="--plan"]       deploy to an AWS account (see `coachstream deploy --help`)
#   make docs                         regenerate the generated pages and build the documentation site into site/
#   make docs-serve                   serve the documentation site on localhost while you write
#   make unicode                      regenerate the character tables, for the pinned Unicode version
#   make lock                         update the lock files
#   make test-lower-bounds            identity and HTTP tests with the oldest allowed versions
#   make torture [ARGS="--seed 7"]    kill processes and cut connections while clients talk; takes minutes
#   make dist [ARGS="--release"]      build what is published into dist/, and check it
#   make test-pythons [ARGS="..."]    the suite on every installed Python from 3.11 on
#   make bench [ARGS="--quick"]       compare a whole turn with Node and FastAPI; takes minutes
#   make evaluate [ARGS="--wrong"]    precision and recall of the analysis of messages: the rules, and any model
#   make check-facts [ARGS="--json"]  list the facts about third-party services that are due for review

SHELL := /bin/sh
# The tests start hundreds of processes: without byte code, each would compile the packages again.
unexport PYTHONDONTWRITEBYTECODE
VENV ?= .venv
BIN := $(VENV)/bin
# The newest Python on the PATH that starts and is 3.11 or newer; looked up once, on demand.
PYTHON ?= $(eval PYTHON := $$(shell for python in python3.14 python3.13 python3.12 python3.11 python3 python; do \
	$$$$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	&& { echo $$$$python; break; }; done))$(PYTHON)
ARGS ?=

LAMBDA_STREAMING := packages/lambda-streaming
COACHSTREAM := packages/coachstream
PROJECTS := pyproject.toml $(LAMBDA_STREAMING)/pyproject.toml $(COACHSTREAM)/pyproject.toml
EDITABLE := --editable $(LAMBDA_STREAMING) --editable $(COACHSTREAM)

.PHONY: help serve deploy test test-peers lint format docs docs-pages docs-serve unicode lock check-facts evaluate bench \
	test-lower-bounds test-pythons torture dist clean

help:
	@sed -n 's/^#   //p' Makefile

serve: $(VENV)/run.installed
	@# On a terminal, in its own process group: Ctrl-C then stops the server, and make succeeds.
	@if [ -t 0 ]; then set -m; $(BIN)/coachstream serve $(ARGS); else exec $(BIN)/coachstream serve $(ARGS); fi

deploy: $(VENV)/deploy.installed
	@exec $(BIN)/coachstream deploy $(ARGS)

test: $(VENV)/dev.installed
	@$(BIN)/python -m pytest -n auto $(ARGS)

# With ARGS="--model ID" also of a model on Bedrock, with the credentials that the AWS SDK finds.
evaluate: $(VENV)/dev.installed
	@$(BIN)/python bench/evaluate_analysis.py $(ARGS)

# The other measurements are scripts in bench/ that this environment runs.
bench: $(VENV)/dev.installed
	@PYTHONPATH=tests exec $(BIN)/python bench/whole_turn.py $(ARGS)

# Not part of `make test`: it takes minutes, and searches for unknown failures.
torture: $(VENV)/dev.installed
	@PYTHONPATH=tests $(BIN)/python -m torture $(ARGS)

# The code that verifies tokens, parses HTTP, serves files, locks and reads .env files, with the oldest release of each
# library that pyproject.toml allows.
LOWER_BOUNDS := $(VENV)/lower-bounds
LOWER_BOUNDS_TESTS := $(addprefix $(COACHSTREAM)/tests/,identity web aws/test_secrets.py functions/test_identity.py \
	local/test_app.py storage/test_file_lock.py) \
	$(addprefix $(LAMBDA_STREAMING)/tests/,function_url emulator/test_env_file.py)

test-lower-bounds: $(LOWER_BOUNDS)/installed
	@$(LOWER_BOUNDS)/bin/python -m pytest -n auto -p no:cacheprovider $(LOWER_BOUNDS_TESTS) $(ARGS)

$(LOWER_BOUNDS)/installed: requirements/lower-bounds.lock $(PROJECTS) $(VENV)/dev.installed
	@echo "Installing the oldest allowed versions (once) ..." >&2
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(LOWER_BOUNDS)
	@$(BIN)/uv pip sync --quiet --python $(LOWER_BOUNDS)/bin/python --require-hashes requirements/lower-bounds.lock
	@$(BIN)/uv pip install --quiet --python $(LOWER_BOUNDS)/bin/python --no-deps --no-build-isolation $(EDITABLE)
	@touch $@

# Every Python of PYTHONS ("3.12 3.13", or "others" than that of `make test`), or all that are installed, each with an
# environment of its own.
PYTHONS ?=

test-pythons: $(VENV)/dev.installed
	@$(BIN)/python tools/pythons.py --only "$(PYTHONS)" -- $(ARGS)

lint: $(VENV)/dev.installed
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

# Node's runtime clients, Hono, a Rust function, Lambda Web Adapter, AWS's emulator, monitoring tools, SAM CLI, AWS CLI,
# Serverless Framework, DynamoDB Local, porcupine, the AWS SDK for JavaScript, CDK, Amplify, TypeScript, the page's
# libraries, Lighthouse, clients of event streams, React, Vite and Next.js. They take five minutes and three gigabytes, so
# `make test` does not fetch them: without them, their tests are skipped.
PEERS := packages/lambda-streaming/tests/emulator/node packages/lambda-streaming/tests/emulator/web_adapter \
	packages/lambda-streaming/tests/emulator/rie packages/lambda-streaming/tests/emulator/rust \
	packages/lambda-streaming/tests/emulator/hono packages/lambda-streaming/tests/monitoring \
	packages/lambda-streaming/tests/recipes/tools packages/lambda-streaming/tests/recipes/serverless \
	tests/support/dynamodb_local tests/support/history_checker packages/coachstream/tests/language/node \
	packages/coachstream/tests/infrastructure/toolkit packages/coachstream/tests/infrastructure/amplify \
	tests/browser/typescript tests/browser/vendored tests/browser/lighthouse \
	packages/coachstream/tests/functions/clients/node \
	packages/coachstream/tests/functions/clients/go packages/coachstream-js/tests/front_ends bench/node

JOBS ?= 1

test-peers:
	@JOBS=$(JOBS) tests/support/fetch_peers.sh $(PEERS)

format: $(VENV)/dev.installed
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# A broken link, an unknown anchor or a page that is not in the navigation fails the build.
docs: docs-pages
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --clean --quiet

docs-serve: docs-pages
	@NO_MKDOCS_2_WARNING=1 exec $(BIN)/mkdocs serve $(ARGS)

docs-pages: $(VENV)/docs.installed
	@$(BIN)/python tools/generated_pages.py

unicode: $(VENV)/dev.installed
	@$(BIN)/python tests/support/unicode_tables.py

COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-emit-package lambda-streaming --no-header
OURS := $(LAMBDA_STREAMING)/pyproject.toml $(COACHSTREAM)/pyproject.toml --extra emulator --extra aws --extra pinecone
LOCKS := requirements
PACKAGED := $(COACHSTREAM)/src/coachstream/package
LAYER := $(LAMBDA_STREAMING)/src/lambda_streaming/layer/layer.lock

# install: uv, which installs the others. run: for `make serve`. deploy: run, AWS CDK and uv. dev: deploy, and the
# tests' dependencies. docs: run, and what builds the site. monitoring: lambda-streaming's dependencies, and the tools
# that its tests install as a peer. lambda, layer: the contents of the package and the layer, in the tested versions.
# lower-bounds: the oldest allowed versions, and their tests' dependencies.
lock: $(VENV)/dev.installed
	@$(COMPILE) --upgrade $(OURS) --group build --output-file $(LOCKS)/run.lock
	@$(COMPILE) --upgrade $(OURS) --group build --extra deploy \
	  --constraint $(LOCKS)/run.lock --output-file $(LOCKS)/deploy.lock
	@$(COMPILE) --upgrade $(OURS) --group build --extra deploy --group dev \
	  --constraint $(LOCKS)/run.lock --constraint $(LOCKS)/deploy.lock --output-file $(LOCKS)/dev.lock
	@$(COMPILE) --upgrade $(OURS) --group docs \
	  --constraint $(LOCKS)/dev.lock --output-file $(LOCKS)/docs.lock
	@$(COMPILE) --upgrade $(LAMBDA_STREAMING)/pyproject.toml --group monitoring \
	  --constraint $(LOCKS)/run.lock --output-file $(LOCKS)/monitoring.lock
	@$(COMPILE) --group install --constraint $(LOCKS)/deploy.lock --output-file $(LOCKS)/install.lock
	@$(COMPILE) --upgrade $(PACKAGED)/lambda.in --constraint $(LOCKS)/run.lock --output-file $(PACKAGED)/lambda.lock
	@$(COMPILE) --upgrade $(LAMBDA_STREAMING)/pyproject.toml --constraint $(LOCKS)/run.lock --output-file $(LAYER)
	@$(COMPILE) --upgrade $(OURS) --group build --resolution lowest-direct --output-file $(LOCKS)/lower-bounds.lock
	@$(COMPILE) --upgrade $(OURS) --group build --group test \
	  --constraint $(LOCKS)/lower-bounds.lock --output-file $(LOCKS)/lower-bounds.lock

# What is published: wheels and source distributions, and the npm package where npm is installed.
dist: $(VENV)/dev.installed
	@PYTHONPATH=tools $(BIN)/python -m release $(ARGS)

check-facts: $(VENV)/run.installed
	@$(BIN)/python -m coachstream.check.facts $(ARGS)

.DEFAULT:
	@echo "There is no target $@. Run make in the project's folder; its targets are:" >&2
	@sed -n 's/^#   /  /p' $(firstword $(MAKEFILE_LIST)) >&2
	@exit 2

clean:
	rm -rf $(VENV) dist site .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then \
	  echo "coachstream needs Python 3.11 or newer with venv and ensurepip (Debian: apt install python3-venv)." >&2; exit 1; fi
	@echo "Creating a virtual environment in $(VENV) with $$($(PYTHON) --version) ..." >&2
	@$(PYTHON) -m venv $(VENV)

$(VENV)/run.installed: requirements/run.lock $(PROJECTS) | $(BIN)/python
	@echo "Installing coachstream's dependencies (once) ..." >&2
	@$(BIN)/python requirements/install.py requirements/run.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation $(EDITABLE)
	@touch $@

$(VENV)/deploy.installed: requirements/deploy.lock $(VENV)/run.installed
	@echo "Installing the dependencies for deployments (once) ..." >&2
	@$(BIN)/python requirements/install.py requirements/deploy.lock
	@touch $@

$(VENV)/dev.installed: requirements/dev.lock $(VENV)/run.installed
	@echo "Installing the tests' dependencies (once) ..." >&2
	@$(BIN)/python requirements/install.py requirements/dev.lock
	@touch $@

$(VENV)/docs.installed: requirements/docs.lock $(VENV)/run.installed
	@echo "Installing what the documentation site needs (once) ..." >&2
	@$(BIN)/python requirements/install.py requirements/docs.lock
	@touch $@
