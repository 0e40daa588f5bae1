# Holdfire: two commands matter, `make run` and `make test`. `make` alone lists the rest.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python

.DEFAULT_GOAL := help
.PHONY: help run test check clean firmware image bundle flash

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.ready: tools/requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Holdfire needs Python 3.11 or newer; this is %s. Set PYTHON=python3.12 (or what you have)." % sys.version.split()[0])'
	@echo "building .venv (first time only; about a minute)"
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check -r tools/requirements-dev.txt
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

run: $(VENV)/.ready ## three simulated stations and a collector, live; Ctrl-C stops
	@$(PY) tools/simulate

test: $(VENV)/.ready ## everything, under CPython and MicroPython
	@$(PY) -m pytest

build/typings/.ready: tools/requirements-stubs.txt $(VENV)/.ready
	@rm -rf build/typings
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --target build/typings -r tools/requirements-stubs.txt
	@touch $@

check: $(VENV)/.ready build/typings/.ready ## ruff, mypy, generated files, import rules: the whole static gate
	$(VENV)/bin/ruff check .
	$(PY) -m mypy
	$(PY) -m mypy --config-file tools/mypy-firmware.ini
	$(PY) tools/generate --check

# A person gives BOARD, FIRMWARE (a MicroPython binary), SHA256, PORT, ERASE: see boards/README.md.
IMAGE = $(PY) tools/image "$(BOARD)" $(if $(FIRMWARE),--firmware $(FIRMWARE)) $(if $(SHA256),--sha256 $(SHA256))

firmware: $(VENV)/.ready ## fetch the pinned MicroPython for BOARD=name
	@$(IMAGE) --fetch

image: $(VENV)/.ready ## build the flash image of BOARD=name; FIRMWARE=path when offline
	@$(IMAGE)

bundle: $(VENV)/.ready ## pack image, tools and wheels for an offline laptop
	@$(IMAGE) --bundle

flash: $(VENV)/.ready ## flash a board; BOARD=name PORT=path, PORT=all, ERASE=1
	@$(PY) tools/flash $(if $(BOARD),--board $(BOARD)) $(if $(PORT),--port $(PORT)) $(if $(filter 1,$(ERASE)),--erase)

clean: ## remove .venv and what was built (simulated data in run/ stays)
	rm -rf $(VENV) build
