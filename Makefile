# `make` lists the targets. What is done already is not done again: finished steps leave a stamp in .tools or .venv.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help
# Containers often tell Python to keep no bytecode: hundreds of processes that tests start would each compile all again.
unexport PYTHONDONTWRITEBYTECODE

# The first Python between 3.11 and 3.13; set PYTHON to choose another one.
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$name && break; done)

POETRY := .tools/poetry/bin/poetry
TOOLED := .tools/poetry/.installed
# A contestant of bench-rest, in an environment of its own.
DLT := .tools/dlt/.installed-1.31.0
# One of bench-warehouse.
DATASETTE := .tools/datasette/.installed-0.65.5
# One stamp per lock and place: a changed lock or a moved checkout installs again, nothing else does.
INSTALLED := .venv/.installed-$(shell { cat poetry.lock; pwd; } | sha256sum | cut -c1-16)
RUN := .venv/bin
# The tests of `check`; in `make check test` they are not run a second time.
HOUSE := tests/house tests/docs tests/sql

# Poetry asks the JSON interface of an index unless a mirror is named: give it the index and the authorities of pip.
PIP_SETTING = .tools/poetry/bin/pip config list | sed -nE "s/^(:env:|global|install)\.$(1)='(.*)'$$/\2/p" | head -1
MIRROR = $(or $(shell $(call PIP_SETTING,index-url)),$(shell .tools/poetry/bin/python -c \
	'from pip._internal.models.index import PyPI; print(PyPI.simple_url)'))
AUTHORITIES = $(shell $(call PIP_SETTING,cert))
WITH_INDEX = POETRY_PYPI_MIRROR_URL="$(MIRROR)" POETRY_NO_INTERACTION=1 PYTHON_KEYRING_BACKEND=keyring.backends.null.Keyring \
	$(if $(AUTHORITIES),REQUESTS_CA_BUNDLE="$${REQUESTS_CA_BUNDLE:-$(AUTHORITIES)}" SSL_CERT_FILE="$${SSL_CERT_FILE:-$(AUTHORITIES)}")

.PHONY: help demo demo-rest up setup services test check docs format lock faults faults-rest faults-inbox storm fuzz bench bench-auth bench-rest bench-inbox bench-warehouse bench-cfg abuse clean

help: ## List the targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' Makefile | expand -t 18

demo: $(INSTALLED) ## Run the main job on this machine: two databases, live traffic, a killed worker, a digest
	@$(RUN)/nms demo $(ARGS)

demo-rest: services ## Keep a REST API and two tables alike on this machine: load, change, compare
	@$(RUN)/nms demo rest $(ARGS)

up: $(INSTALLED) ## Start everything on embedded defaults and stay running
	@exec $(RUN)/nms up

setup: $(INSTALLED) ## Install what NMS and its tests need into .venv

services: $(INSTALLED) ## Install the servers that tests need, or say what to install
	@$(RUN)/python -m tests.services

test: services ## Run every test on real servers
	@[ ! -f .cache/services.env ] || { set -a; . .cache/services.env; set +a; }; \
	$(RUN)/pytest -n 3 --dist loadgroup --timeout 450 --timeout-method thread $(if $(filter check,$(MAKECMDGOALS)),$(HOUSE:%=--ignore=%)) $(ARGS)

check: services ## Check the house: floors, sizes, names, statements, types, lint
	@$(RUN)/ruff format --check .
	@$(RUN)/ruff check .
	@$(RUN)/mypy --strict nms tests bench
	@$(RUN)/lint-imports --no-logo
	@$(RUN)/deptry nms
	@$(RUN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	@$(RUN)/hadolint Dockerfile
	@$(RUN)/pytest -q -n 2 $(HOUSE)

docs: $(INSTALLED) ## Write docs/reference from the program
	@$(RUN)/python -m tests.docs.generate

format: $(INSTALLED) ## Format the code
	@$(RUN)/ruff check --fix-only .
	@$(RUN)/ruff format .

lock: $(TOOLED) ## Lock the newest versions that pyproject.toml allows
	@$(WITH_INDEX) $(POETRY) lock --regenerate
	@$(MAKE) setup

faults: services ## Kill worker and servers under load, and prove that nothing was lost or doubled
	@$(RUN)/python -m tests.flow.faults $(ARGS)

faults-rest: services ## Time out and kill while tables and webhooks go to an API, and prove that nothing was lost or doubled
	@$(RUN)/python -m pytest -q -p no:cacheprovider --hypothesis-profile=fuzz tests/service/test_rest_outcomes.py \
		tests/service/test_inbox_push.py

faults-inbox: services ## Kill and stop everything while webhooks come, and prove that none was lost or doubled
	@$(RUN)/python -m tests.flow.inbox $(ARGS)

storm: services ## Edit both sides of a two-way pipeline for minutes, kill its worker, and prove that both end alike
	@$(RUN)/python -m pytest -q -p no:cacheprovider --hypothesis-profile=fuzz tests/service/test_twoway.py $(ARGS)

fuzz: services ## Run the property tests with many more examples, and say what was run
	@[ ! -f .cache/services.env ] || { set -a; . .cache/services.env; set +a; }; \
	$(RUN)/pytest -m "hypothesis or fuzz" --hypothesis-profile=fuzz $(ARGS)

bench: services ## Measure against PostgreSQL's own means, side by side
	@$(RUN)/python -m bench $(ARGS)

bench-auth: services ## Measure what auth costs, how much it bears and what it gives away
	@$(RUN)/python -m bench.auth $(ARGS)

bench-rest: services $(DLT) ## Measure pulls of a REST API beside a bare client and dlt
	@$(RUN)/python -m bench.rest $(ARGS)

bench-inbox: services ## Measure how fast signed events are taken, beside bare servers
	@$(RUN)/python -m bench.inbox $(ARGS)

bench-warehouse: services $(DATASETTE) ## Measure how fast records are read, beside bare servers, FastAPI and Datasette
	@$(RUN)/python -m bench.warehouse $(ARGS)

bench-cfg: services ## Measure many who write one document, and many who watch what becomes of it
	@$(RUN)/python -m bench.cfg $(ARGS)

abuse: services ## Measure what slow and hostile strangers take of the rate of good requests
	@$(RUN)/python -m bench.inbox.abuse $(ARGS)

clean: ## Remove what the targets made; the data in .nms stay
	@rm -rf .venv .tools .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(TOOLED):
	@if [ -z "$(PYTHON)" ]; then echo "Python 3.11, 3.12 or 3.13 is needed: install it, or name it with PYTHON=..." >&2; exit 1; fi
	@if ! $(PYTHON) -c 'import venv, ensurepip' 2>/dev/null; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			export PATH="$$PATH:/usr/sbin:/sbin"; apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends python3-venv; \
		else echo "The module venv of $(PYTHON) is missing: install the package python3-venv." >&2; exit 1; fi; fi
	@echo "Installing Poetry into .tools"
	@rm -rf .tools/poetry
	@$(PYTHON) -m venv .tools/poetry
	@.tools/poetry/bin/pip install -qq --disable-pip-version-check 'poetry>=2.5,<3' 'poetry-plugin-pypi-mirror>=0.6'
	@touch $@

$(DLT):
	@echo "Installing dlt into .tools"
	@rm -rf .tools/dlt
	@$(PYTHON) -m venv .tools/dlt
	@.tools/dlt/bin/pip install -qq --disable-pip-version-check 'dlt[postgres]==1.31.0'
	@touch $@

$(DATASETTE):
	@echo "Installing Datasette into .tools"
	@rm -rf .tools/datasette
	@$(PYTHON) -m venv .tools/datasette
	@.tools/datasette/bin/pip install -qq --disable-pip-version-check datasette==0.65.5
	@touch $@

$(INSTALLED): | $(TOOLED)
	@echo "Installing NMS into .venv"
	@[ -x .venv/bin/python ] && .venv/bin/python -c '' 2>/dev/null || { rm -rf .venv; $(PYTHON) -m venv .venv; }
	@$(WITH_INDEX) $(POETRY) sync --all-extras --no-ansi
	@rm -f .venv/.installed-*
	@touch $@
