# Two commands: `make run` sets everything up and starts the service; `make test` sets everything up and runs every check.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONSOLE := bot/web/console
WIDGET := bot/web/widget
STATIC := bot/web/static

.PHONY: run test bench demo setup setup-dev extra rasa pages lint unit pages-test format locks clean help

help:
	@echo "make run     set up and start the service (http://127.0.0.1:8080)"
	@echo "make test    set up and run all checks and tests"
	@echo "make bench   measure against docs/benchmarks.md"
	@echo "make demo    a demonstration desk in ./data-demo, on port 8090"
	@echo "make extra   also install sentence-transformers (optional);  make rasa  Rasa's environment (optional, Python 3.10)"
	@echo "make format  format the code;  make locks  refresh the lock files"

run: setup compiled
	@$(BIN)/qingting run

demo: setup
	@QINGTING_STORAGE__DATA=data-demo QINGTING_STORAGE__URL=sqlite:///data-demo/qingting.db \
	 QINGTING_STORAGE__MASTER_KEY_FILE=data-demo/master.key QINGTING_SERVER__PORT=8090 \
	 sh -c '$(BIN)/qingting demo && exec $(BIN)/qingting run'

# --- set-up: each step leaves a stamp and is done again only when what it was made from has changed -------------------------
setup: $(VENV)/run.stamp pages
setup-dev: $(VENV)/dev.stamp pages

# Where Python is told not to keep what it compiles (PYTHONDONTWRITEBYTECODE), every start would compile anew: half of its time.
compiled: setup
	@$(BIN)/python -m compileall -qq bot escalation handlers knowledge nlu || true
.PHONY: compiled

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: requirements/run.lock pyproject.toml | $(BIN)/python
	@test -f $(VENV)/dev.stamp || $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	@touch $@

$(VENV)/dev.stamp: requirements/dev.lock pyproject.toml | $(BIN)/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	@touch $@

# Optional: large sentence encoders, and Rasa in an environment of its own. torch 2.13.0 is the build without GPU where pip finds one.
extra: setup-dev $(VENV)/extra.stamp
$(VENV)/extra.stamp: requirements/sentence-transformers.lock $(VENV)/dev.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/sentence-transformers.lock
	@touch $@

rasa: setup
	$(BIN)/qingting rasa setup

pages: $(STATIC)/console/index.html $(STATIC)/chat/.built

sources = $(shell find $(1) -path $(1)/node_modules -prune -o -type f -print 2>/dev/null)

$(CONSOLE)/node_modules/.stamp: $(CONSOLE)/package-lock.json
	cd $(CONSOLE) && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(WIDGET)/node_modules/.stamp: $(WIDGET)/package-lock.json
	cd $(WIDGET) && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(STATIC)/console/index.html: $(CONSOLE)/node_modules/.stamp $(call sources,$(CONSOLE))
	cd $(CONSOLE) && npm run --silent build
	@touch $@

$(STATIC)/chat/.built: $(WIDGET)/node_modules/.stamp $(call sources,$(WIDGET))
	cd $(WIDGET) && npm run --silent build
	@touch $@

# --- checks -----------------------------------------------------------------------------------------------------------
test: setup-dev lint pages-test unit

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

pages-test:
	cd $(CONSOLE) && npm run --silent lint && npm run --silent test
	cd $(WIDGET) && npm run --silent test

unit:
	$(BIN)/pytest

bench: setup-dev
	$(BIN)/python -m tests.bench

format:
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

# Locks carry hashes and no download addresses.
locks:
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --extra postgres --extra redis pyproject.toml -o requirements/run.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --extra postgres --extra redis --extra dev pyproject.toml -o requirements/dev.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --extra sentence-transformers -c requirements/dev.lock --override requirements/without-torch.txt pyproject.toml \
	  -o requirements/sentence-transformers.lock
	$(BIN)/uv pip compile -q --no-deps --python-version 3.10 --generate-hashes --no-annotate --no-emit-index-url \
	  --custom-compile-command "make locks" nlu/rasa/requirements.txt -o nlu/rasa/requirements.txt

clean:
	rm -rf $(VENV) .rasa-venv $(STATIC) $(CONSOLE)/node_modules $(WIDGET)/node_modules build .mypy_cache .ruff_cache .pytest_cache

# A long one, run by hand: fifty deaths in pieces; stopped and started again it goes on where it was.
.PHONY: soak
soak: setup-dev
	$(BIN)/python -m tests.faults.soak
