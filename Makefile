# Words for people. Each makes .venv first if it is not there or the pinned versions have changed.

PYTHON ?= python3
PIP_QUIET ?= --quiet --progress-bar off --disable-pip-version-check
ROOMS := core service serving worker distill_client launcher migrations
# Torch first, in the same command line as the constraints: its build decides which of the others come along.
INSTALL = .venv/bin/python -m pip install $(PIP_QUIET) torch==2.13.0 --constraint constraints.txt --editable
# One thread per process: the tests run in as many processes as there are cores.
TEST_ENVIRONMENT := OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1

.DEFAULT_GOAL := words
.PHONY: words demo check test bench serve work migrate install clean

words: ## print these words
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "  make %-8s %s\n", $$1, $$2 }'

demo: .venv/runs ## run the whole service here, distil a real classifier and show the gain
	.venv/bin/distill demo

check: .venv/tests ## format, lint, types and import contracts
	.venv/bin/ruff format --check --quiet .
	.venv/bin/ruff check --quiet .
	.venv/bin/mypy --strict --no-error-summary
	.venv/bin/lint-imports --no-cache

test: .venv/tests ## run every test, on real SQLite, PostgreSQL and Valkey
	@$(TEST_ENVIRONMENT) .venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

bench: .venv/peers ## measure gain, speed beside tutorials and peers, writing, memory, start, requests and a sweep
	.venv/bin/python -m benchmarks.gain
	.venv/bin/python -m benchmarks.classification
	.venv/bin/python -m benchmarks.language
	.venv/bin/python -m benchmarks.agreement
	.venv/bin/python -m benchmarks.generation
	.venv/bin/python -m benchmarks.memory
	.venv/bin/python -m benchmarks.start
	.venv/bin/python -m benchmarks.service
	.venv/bin/python -m benchmarks.sweep

serve: .venv/runs ## run the whole service on this machine until Ctrl-C
	.venv/bin/distill up

work: .venv/runs ## run one worker for the service that the DISTILL_ variables name
	.venv/bin/python -m worker

migrate: .venv/runs ## bring the database to the newest revision
	.venv/bin/python -m migrations

install: .venv/runs ## only make .venv, with what running needs

clean: ## remove .venv, caches and the demo's files; never distill-data
	rm -rf .venv .demo build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find $(ROOMS) tests -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than 3.11; run make PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/runs: pyproject.toml constraints.txt | .venv/bin/python
	@echo "installing what running needs, a few minutes the first time"
	$(INSTALL) '.[service,worker,client,embedded,examples]'
	@touch $@

.venv/peers: .venv/runs
	$(INSTALL) '.[service,worker,client,embedded,examples,openvino,peers]'
	@touch $@

.venv/tests: pyproject.toml constraints.txt | .venv/bin/python
	@echo "installing what running and testing need, a few minutes the first time"
	$(INSTALL) '.[service,worker,client,embedded,examples,openvino,dev]'
	@touch .venv/runs $@
