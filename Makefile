# Platemark. `make` alone lists what there is to do. Only python3 (3.11 or newer) and make are needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
PROTO := proto/platemark/v1/ledger.proto
STUBS := platemark/v1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test lint proto proto-check vectors bench soak survival requirements clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## build .venv from the pinned requirements

$(STAMP): requirements.txt client/pyproject.toml ledger/pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Platemark needs Python 3.11 or newer, and there is no $(PYTHON) here; try make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Platemark needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1); try make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e client -e ledger
	@touch $@

demo: setup ## real images through a real ledger into demo-out/, verified offline
	$(BIN)/platemark-ledger demo --out demo-out

test: setup ## all tests but the long ones
	$(BIN)/python -m pytest

soak: setup ## the long runs: more examples, more writers, more crashes
	PLATEMARK_SOAK=1 $(BIN)/python -m pytest

lint: setup proto-check ## style, types, import rules, freshness of generated code
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# The plugins are found on the path; google/rpc/*.proto come with googleapis-common-protos.
define protoc
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m grpc_tools.protoc -I proto \
		-I "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
		--python_out=$(1) --grpc_python_out=$(1) --mypy_out=quiet:$(1) --mypy_grpc_out=quiet:$(1) $(PROTO)
endef

proto: setup ## regenerate client/platemark/v1 from proto/
	$(call protoc,client)

# Compares in a directory of its own, so that it says the same in a work tree with changes.
proto-check: setup ## fail when client/platemark/v1 is not what proto/ generates
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && \
	$(call protoc,"$$fresh") && \
	diff -r -x __init__.py -x __pycache__ "$$fresh/$(STUBS)" client/$(STUBS) || \
	{ echo "client/$(STUBS) is not what $(PROTO) generates: run make proto" >&2; exit 1; }

vectors: setup ## regenerate the test vectors
	$(BIN)/python tests/vectors/generate.py

bench: setup ## measure; prints numbers, proves nothing
	$(BIN)/python tests/bench/run.py

survival: setup ## what survives dcmtk, pydicom and Orthanc, rung by rung, into deploy/SURVIVAL.md
	$(BIN)/python tests/survival/run.py --write

# No index address is written: whoever installs decides where from.
requirements: setup ## compile requirements.txt anew from requirements.in and both pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip compile requirements.in --output-file requirements.txt --quiet --no-config --universal \
		--python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-emit-find-links \
		--no-emit-package platemark --no-emit-package platemark-ledger $(UPGRADE)

clean: ## remove what can be built again, .venv too
	rm -rf $(VENV) demo-out .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find client ledger tests -name __pycache__ -prune -exec rm -rf {} +
	rm -rf client/dist ledger/dist
