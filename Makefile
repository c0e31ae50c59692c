# `make run` and `make test` do everything on a fresh machine; `make help` lists the rest.
.DEFAULT_GOAL := help
.PHONY: run test test-all coverage lint format docs reference clean help setup setup-test

export PYTHON

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/' | expand -t 16

run: setup ## set everything up and run it, until Ctrl-C (ARGS=--no-demo starts empty)
	@exec .venv/bin/milepost up $(ARGS)

PYTEST = .venv/bin/pytest -n auto --maxprocesses 4 --dist worksteal

test: setup-test lint ## lint, types, import rules and the tests but the slow ones (PYTEST_ARGS="tests/unit -x")
	$(PYTEST) -m "not slow" $(PYTEST_ARGS)

test-all: setup-test lint ## the same with the slow tests, as before a release
	$(PYTEST) $(PYTEST_ARGS)

# Processes that tests start are not measured, so tests/e2e is left out. The floor was measured on tests/unit and
# tests/integration/{core,ingest,broker} alone (78.07 %): raise fail_under to what a whole run prints.
coverage: setup-test ## which lines the tests of tests/unit and tests/integration reach; fails below the floor
	@mkdir -p build
	$(PYTEST) -m "not slow" --cov --cov-report=term tests/unit tests/integration $(PYTEST_ARGS)

lint: setup-test ## ruff, mypy and the import rules
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

format: setup-test ## put the code into its form
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

docs: setup-test reference ## the documentation as a site, in build/site
	.venv/bin/sphinx-build --quiet --fail-on-warning --keep-going -c docs -b html . build/site
	@echo "open build/site/index.html"

reference: setup-test ## write docs/reference from the code
	.venv/bin/python scripts/make_reference.py

setup:
	@scripts/setup.sh run

setup-test:
	@scripts/setup.sh test

clean: ## remove what was built; the data in .milepost stay
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build *.egg-info .setup.log
