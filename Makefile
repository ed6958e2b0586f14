# Two commands on a fresh machine with Python 3.11: `make up` and `make test`.
#   make up ARGS="--detach --home DIR --port N"     arguments of `lorikeet up`
#   make up EXTRA=gpu                               cpu or gpu; found by itself otherwise
VENV := .venv
BIN := $(VENV)/bin
EXTRA ?= $(shell nvidia-smi >/dev/null 2>&1 && echo gpu || echo cpu)
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help setup up down test lint format unit integration bench lock clean

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | head -n 3
	@echo "make setup | up | down | test | unit | integration | lint | format | bench | lock | clean"

setup:
	@cluster/locks/install.sh $(VENV) $(EXTRA)

up: setup
	@$(BIN)/lorikeet up $(ARGS)

down:
	@$(BIN)/lorikeet down $(ARGS)

test: lint unit integration

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What is slow as a whole: vLLM, torch or transformers take each process long to import.
SLOW = tests/bench tests/product tests/deployments/test_engine.py tests/deployments/test_engine_app.py \
	tests/rag/test_classify.py tests/rag/test_embed.py tests/rag/test_rerank.py \
	tests/train/test_callbacks.py tests/train/test_data.py \
	tests/train/test_masking.py tests/train/test_training.py \
	tests/train/budgie/test_circuit.py tests/train/budgie/test_letters.py \
	tests/train/budgie/test_packing.py tests/train/budgie/test_tokenizer.py \
	tests/train/budgie/test_weights.py

unit: setup
	$(BIN)/pytest -n 3 --dist worksteal -m "not cluster and not slow and not gpu and not browser" \
		$(SLOW:%=--ignore %) $(ARGS)

# What needs a browser or a GPU runs where there is one, and says that it was skipped elsewhere.
integration: setup
	$(BIN)/pytest -m "cluster or slow or gpu or browser" --timeout 600 $(ARGS)

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	$(BIN)/python -m bench

lock: setup
	cluster/locks/compile.sh $(VENV) $(ARGS)

clean:
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis $(VENV)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
