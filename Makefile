# The words of this project; `make help` lists them. Needs Python 3.11 or later, a C compiler and make.
# Each kind of build has a venv of its own. Stamps in the venvs say what is installed and built.

PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?=
VERSIONS := 3.11 3.12 3.13

# The other kernels for Python, at the versions that the figures are about.
PEERS := ipymini async-kernel xeus-python
PEER_ipymini := 0.1.25
PEER_async-kernel := 0.23.*
PEER_xeus-python := 0.19.*
PEER_SPECS = $(foreach spec,ipymini/share/jupyter/kernels/py async-kernel/share/jupyter/kernels/async \
	xeus-python/share/jupyter/kernels/xpython,--kernel .venv-peers/$(spec)/kernel.json)

BUILD_TOOLS := 'setuptools>=77' 'Cython>=3.1'
BIN := $(VENV)/bin
NATIVE := $(wildcard src/fastshell/*.pyx src/fastshell/*.pxd src/fastshell/_c/*.h)
PACKAGE := $(shell find src/fastshell -type f ! -path '*__pycache__*' ! -name '*.so')
BENCHES := $(filter-out bench/lean.py,$(wildcard bench/[a-z]*.py))
METADATA := pyproject.toml setup.py MANIFEST.in

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help build debug test test-all test-long bench bench-peers bench-smoke demo lab annotate types style fuzz fuzz-smoke \
	sanitize clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed 's/:.*## /\t/' | expand -t 14
	@echo
	@echo 'PYTHON=$(PYTHON) VENV=$(VENV) PYTEST_ARGS=$(PYTEST_ARGS)'

# --- environments ---

# Makes the venv $(1) with the build tools, once.
define venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Python 3.11 or later is needed; say make PYTHON=python3.x'; exit 1; }
	test -x $(1)/bin/pip || $(PYTHON) -m venv $(1)
	$(1)/bin/pip install -q $(BUILD_TOOLS)
endef

# Installs a copy of the package into the venv $(1).
install_copy = $(1)/bin/pip install -q --no-build-isolation --no-deps --force-reinstall .

# Editable, so that changes of Python files need no make. The extensions are left to the next rule.
$(VENV)/.installed: $(METADATA) src/fastshell/resources/kernel.json
	$(call venv,$(VENV))
	FASTSHELL_PURE=1 $(BIN)/pip install -q --no-build-isolation -e '.[test]'
	@touch $@

# Only what has changed is translated and compiled; file names carry the version of Python.
$(VENV)/.built: $(VENV)/.installed $(NATIVE)
	$(BIN)/python setup.py -q build_ext --inplace
	@touch $@

$(VENV)/.tools: $(VENV)/.installed
	$(BIN)/pip install -q ruff mypy
	@touch $@

.venv-debug/.installed .venv-asan/.installed: %/.installed: $(METADATA)
	$(call venv,$*)
	FASTSHELL_PURE=1 $*/bin/pip install -q --no-build-isolation '.[test]'
	@touch $@

.venv-debug/.built: .venv-debug/.installed $(PACKAGE)
	FASTSHELL_DEBUG=1 $(call install_copy,.venv-debug)
	@touch $@

.venv-asan/.built: .venv-asan/.installed $(PACKAGE)
	FASTSHELL_SANITIZE=address,undefined $(call install_copy,.venv-asan)
	@touch $@

.venv-demo/.installed: $(METADATA)
	$(call venv,.venv-demo)
	FASTSHELL_PURE=1 .venv-demo/bin/pip install -q --no-build-isolation . 'ipykernel>=7.4,<7.5' nbclient numpy matplotlib
	@touch $@

.venv-demo/.built: .venv-demo/.installed $(PACKAGE)
	$(call install_copy,.venv-demo)
	@touch $@

.venv-demo/.lab: .venv-demo/.installed
	.venv-demo/bin/pip install -q jupyterlab
	@touch $@

# --- everyday ---

build: $(VENV)/.built ## make .venv and compile the extensions in place

test: $(VENV)/.built ## run the test-suite; PYTEST_ARGS="-k wire" for a part of it
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-long: $(VENV)/.built ## the tests that take minutes, such as 200 starts in a row
	$(BIN)/python -m pytest -m long $(PYTEST_ARGS)

test-all: ## run it on each of Python 3.11, 3.12 and 3.13
	@failed=; for version in $(VERSIONS); do \
		python=$$($(call find_python,$$version)); \
		echo "== Python $$version: $${python:-not found}"; \
		test -n "$$python" && $(MAKE) --no-print-directory test PYTHON="$$python" VENV=.venv-$$version \
			|| failed="$$failed $$version"; \
	done; \
	test -z "$$failed" || { echo "failed on Python$$failed"; exit 1; }

# A shim of pyenv can be on PATH and yet refuse to run, so each candidate is tried.
define find_python
for candidate in python$(1) "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/$(1).*/bin/python$(1); do \
	"$$candidate" -c 'import sys; print(sys.executable)' 2>/dev/null && break; \
done
endef

style: $(VENV)/.tools ## ruff: lint and format, both only checked
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.tools ## mypy --strict
	$(BIN)/mypy --strict src

# --- the compiled part ---

debug: .venv-debug/.built ## test the compiled part with C assertions and line tracing
	.venv-debug/bin/python -X dev -m pytest tests/router tests/protocol --timeout=120 $(PYTEST_ARGS)

# The sanitizers' libraries come first in the process, as the interpreter is not linked with them;
# libstdc++ with them, or ASan does not find the exceptions that libzmq throws. Leaks are not looked
# for: Python leaves memory to the end of the process. pytest's faulthandler and its capture of fd 2 would
# hide the report.
sanitize: .venv-asan/.built ## test the compiled part under the address and undefined sanitizers
	LD_PRELOAD="$$($(CC) -print-file-name=libasan.so) $$($(CC) -print-file-name=libubsan.so) \
$$($(CC) -print-file-name=libstdc++.so.6)" \
	ASAN_OPTIONS=detect_leaks=0:halt_on_error=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
	PYTHONMALLOC=malloc \
	.venv-asan/bin/python -m pytest -p no:faulthandler --capture=sys tests/router tests/protocol \
		-k 'not plain' --timeout=120 $(PYTEST_ARGS)

annotate: $(VENV)/.installed ## Cython's html, which shows where C calls Python, in build/annotate
	FASTSHELL_ANNOTATE=1 $(BIN)/python setup.py -q build_ext --build-lib build/annotate/lib
	@cp build/annotate/cython/src/fastshell/*.html build/annotate/
	@ls build/annotate/*.html

fuzz: $(VENV)/.built ## ten minutes of random headers against json.loads
	$(BIN)/python fuzz/fuzz_scan.py --seconds 600

fuzz-smoke: $(VENV)/.built ## a million of them
	$(BIN)/python fuzz/fuzz_scan.py --cases 1000000

# --- measure and show ---

.venv-peers/%/.installed:
	$(PYTHON) -m venv .venv-peers/$*
	.venv-peers/$*/bin/pip install -q '$*==$(PEER_$*)'
	@touch $@

# As pip leaves an installed package: or each start would compile it anew where bytecode is not written.
bench bench-peers bench-smoke: $(VENV)/.bytecode

$(VENV)/.bytecode: $(VENV)/.built $(PACKAGE)
	$(BIN)/python -m compileall -q src/fastshell
	@touch $@

bench: $(VENV)/.built ## answer the question of each file in bench/
	@set -e; for file in $(BENCHES); do echo "== $$file"; $(BIN)/python $$file; done

bench-smoke: $(VENV)/.built ## the same, only to see that they run
	@set -e; for file in $(BENCHES); do echo "== $$file"; $(BIN)/python $$file --smoke; done

bench-peers: $(VENV)/.built $(PEERS:%=.venv-peers/%/.installed) ## start.py and idle.py beside all peers
	-$(BIN)/python bench/start.py --kernel $(BIN)/python:fastshell $(PEER_SPECS) --kernel $(BIN)/python:ipykernel_launcher
	-$(BIN)/python bench/idle.py --kernel $(BIN)/python:fastshell $(PEER_SPECS) --kernel $(BIN)/python:ipykernel_launcher

demo: .venv-demo/.built ## fastshell beside ipykernel, in a terminal
	.venv-demo/bin/python examples/demo.py

lab: .venv-demo/.built .venv-demo/.lab ## JupyterLab with fastshell
	.venv-demo/bin/jupyter lab examples

clean: ## remove all that make has made
	rm -rf build dist .venv .venv-* src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis \
		.benchmarks src/fastshell/*.so
	find src tests fuzz bench examples -name __pycache__ -prune -exec rm -rf {} +
