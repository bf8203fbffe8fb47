# Everything that is done to this project by hand or by CI. `make` alone lists it.

PYTHON ?= python3
VENV := .venv
BIN  := $(VENV)/bin
# Errors only: a line per stage says enough.
PIP  := $(BIN)/python -m pip -qq --disable-pip-version-check

# Stamps: an installation is done again only when pyproject.toml is newer than its stamp.
VENV_STAMP := $(VENV)/.created
DEMO_STAMP := $(VENV)/.installed-demo
DEV_STAMP  := $(VENV)/.installed-dev
BENCH_STAMP := $(VENV)/.installed-bench
RESTATE := @restatedev/restate-server@1

.DEFAULT_GOAL := help
.PHONY: help demo install servers check test mutations simulate chaos bench-setup bench bench-growth format clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(DEMO_STAMP) ## watch a payment saga succeed, fail and be undone
	@$(BIN)/sagaflow demo

install: $(DEV_STAMP) ## install sagaflow and its development tools into .venv
	@echo "sagaflow and its development tools are in $(VENV)"

servers: $(DEV_STAMP) ## make sure that the tests can have PostgreSQL and RabbitMQ
	@$(BIN)/python -m tests.servers --or-install

check: $(DEV_STAMP) ## lint, formatting, types and the layers of the architecture
	@echo "ruff check"
	@$(BIN)/ruff check --quiet .
	@echo "ruff format --check"
	@$(BIN)/ruff format --quiet --check .
	@echo "mypy"
	@$(BIN)/mypy --no-error-summary
	@echo "lint-imports"
	@report=$$($(BIN)/lint-imports --no-logo) || { echo "$$report"; exit 1; }

test: check servers ## check, then every test against real servers
	@$(BIN)/python -m pytest

mutations: $(DEV_STAMP) ## put bugs into the code, one after the other, and see that the tests notice (10 minutes)
	@$(BIN)/python -m tests.mutations

SEEDS ?= 0:3000

simulate: $(DEV_STAMP) ## play simulated histories: make simulate SEEDS=0:10000 (3,000 and more must meet everything)
	@$(BIN)/python -m sagaflow.testing.simulate --seeds $(SEEDS) --processes 2 --complete

chaos: $(DEV_STAMP) ## kill and cut everything at random, then judge: make chaos SEED=7 SECONDS=60
	@$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(SECONDS),--seconds $(SECONDS))

bench-setup: $(BENCH_STAMP) ## install what sagaflow is compared with (needs npm for one of it)
	@echo "DBOS, Restate and Celery are in $(VENV)"

bench: $(DEV_STAMP) ## measure all that is installed side by side, a quarter of an hour, and draw the plots
	@$(BIN)/python -m benchmarks compare --json docs/benchmarks/compare.json
	@$(BIN)/python -m benchmarks plots

bench-growth: $(DEV_STAMP) ## measure how it goes on as it grows, and draw the plots
	@$(BIN)/python -m benchmarks growth --json docs/benchmarks/growth.json
	@$(BIN)/python -m benchmarks plots

format: $(DEV_STAMP) ## mend what can be mended by machine
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/ruff format --quiet .

clean: ## remove .venv and everything that was built
	@rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV_STAMP):
	@echo "Creating $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install --upgrade pip
	@touch $@

$(DEMO_STAMP): pyproject.toml $(VENV_STAMP)
	@echo "Installing sagaflow"
	@$(PIP) install --editable ".[cli]"
	@touch $@

$(DEV_STAMP): pyproject.toml $(VENV_STAMP)
	@echo "Installing sagaflow and its development tools"
	@$(PIP) install --editable ".[cli,speed]" --group dev
	@touch $(DEMO_STAMP) $@

$(BENCH_STAMP): pyproject.toml $(DEV_STAMP)
	@echo "Installing what sagaflow is compared with"
	@$(PIP) install --group bench
	@npm install --silent --no-fund --no-audit --ignore-scripts --prefix $(VENV)/restate $(RESTATE) \
		|| echo "Restate's server could not be had from npm; it will be left out"
	@touch $@
