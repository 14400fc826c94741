# Two commands: `make demo` shows it, `make test` proves it. Each builds what it needs.
.DEFAULT_GOAL := help
SHELL := /bin/bash
BROWSER_CLIENT := yugen/server/static/client.js
PYTEST_ARGS ?=

.PHONY: help setup demo test check bench simulate dist clean
SEEDS ?= 1000

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/.stamp $(BROWSER_CLIENT) ## Install everything for development into .venv and node_modules

demo: setup ## Run the chat example and say where to look (PORT=3210)
	@scripts/demo

test: setup ## Check, then run every test (SKIP_BROWSER=1, PYTEST_ARGS="-k name")
	$(if $(SKIP_BROWSER),,@scripts/install-chromium)
	@scripts/install-cc
	@$(MAKE) --no-print-directory --jobs 2 --output-sync check test-browser-client
	.venv/bin/pytest -n 4 $(if $(SKIP_BROWSER),-m "not browser") $(PYTEST_ARGS)

.PHONY: test-browser-client
test-browser-client: setup
	npm test --silent

check: .venv/.stamp ## Lint, formatting, types, import directions
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo

bench: setup ## Measure everything beside what the machine allows (see benchmarks/)
	@scripts/install-cc
	.venv/bin/python -m benchmarks

simulate: setup ## Live through SEEDS=1000 seeds of faults in simulation; the other machines: python -m reliability
	.venv/bin/python -m reliability simulate --seeds $(SEEDS)

dist: setup ## Build the two packages into dist/, to be installed with pip
	rm -rf dist
	.venv/bin/python -m hatchling build -t wheel -d dist
	cd client/python && ../../.venv/bin/python -m hatchling build -t wheel -d ../../dist

clean: ## Remove what was built and installed; data in .yugen/ stays
	rm -rf .venv node_modules client/browser/node_modules client/browser/dist dist benchmarks/client/built yugen/server/static/*.js
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

.venv/.stamp: requirements.lock pyproject.toml client/python/pyproject.toml scripts/install-python
	scripts/install-python
	@touch $@

node_modules/.stamp: package-lock.json package.json $(wildcard client/browser/package.json) scripts/install-node
	scripts/install-node
	@touch $@

$(BROWSER_CLIENT): node_modules/.stamp $(wildcard client/browser/*.json client/browser/*.mjs) $(shell find client/browser/src -type f)
	npm run --silent build
	@touch $@
