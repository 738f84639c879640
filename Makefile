# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SEED ?= 1
AT_ONCE ?= 2

.PHONY: help demo setup test check bench prove attack fuzz simulate crash lock docs debian clean

help: ## Show what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(STAMP) ## A demo bank, the gateway and the notary; opens with nothing preconfigured
	@$(BIN)/parley demo

setup: $(STAMP) ## Build .venv with the parley command and the developers' tools

$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Parley needs Python 3.11 or newer; run: make PYTHON=python3.11 setup" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing hashed requirements into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

debian: ## Install what browser and Go tests need, where this machine lets us
	@$(BIN)/python -m tests.debian

test: $(STAMP) debian ## Every test, on SQLite and PostgreSQL
	@$(BIN)/python -m pytest -n $(AT_ONCE) --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(STAMP) ## Lint, types, import contracts, documentation
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check src tests bench
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q tests/contracts/test_documents.py

$(VENV)/.bench: $(STAMP) requirements/bench.txt
	@echo "Installing the policy engines to compare with …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/bench.txt
	@touch $@

bench: $(VENV)/.bench ## The speed tables: docs/performance.md, policy-speed.md, grants-speed.md
	@$(BIN)/python -m bench
	@$(BIN)/python -m bench.policy
	@$(BIN)/python -m bench.grants

prove: $(STAMP) ## A million random requests: table, compiled rules and the Rust engine must agree
	@PARLEY_PROVE_REQUESTS=1000000 $(BIN)/python -m pytest -s -n0 --timeout 36000 tests/contracts/test_policy_engines_agree.py

attack: $(STAMP) ## Everything that must not work
	@$(BIN)/python -m pytest tests/attacks

fuzz: $(STAMP) ## 10,000 generated requests to every address of the house
	@PARLEY_FUZZ_CASES=10000 $(BIN)/python -m pytest -n0 --timeout 1800 tests/attacks/test_no_route_answers_500.py

simulate: $(STAMP) ## The whole house under a seeded schedule of faults: make simulate SEED=7
	@PARLEY_SIMULATION_SEED=$(SEED) $(BIN)/python -m pytest -s tests/simulation

crash: $(STAMP) ## The long crash run: 1,000 kills
	@PARLEY_KILLS=1000 $(BIN)/python -m pytest -s --timeout 3600 tests/simulation/test_crashes.py

lock: ## Write the hashed requirements anew (needs uv)
	uv pip compile pyproject.toml -o requirements/runtime.txt --universal --python-version 3.11 --generate-hashes --custom-compile-command 'make lock' -q
	uv pip compile pyproject.toml requirements/dev.in -o requirements/dev.txt --universal --python-version 3.11 --generate-hashes --custom-compile-command 'make lock' -q
	uv pip compile requirements/bench.in -c requirements/dev.txt -o requirements/bench.txt --universal --python-version 3.11 --generate-hashes --custom-compile-command 'make lock' -q

docs: $(STAMP) ## Write the pages that are made from code
	@$(BIN)/python -m tests.make_docs

clean: ## Remove what was built
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
