# `make help` lists what there is to do.
PYTHON ?= python3
VENV ?= .venv
REGION ?= us-central1
BACKEND ?= large-model
NAME ?= weekly
PIP_ARGS ?=

BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
TUNEPIPE := $(BIN)/tunepipe

.DEFAULT_GOAL := help
.PHONY: help install demo demo-vertex test check compile run schedule docs browser clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

install: $(INSTALLED) ## create .venv with everything that the demo and the tests need

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[local,dev]'
	touch $@

demo: $(INSTALLED) ## run the whole pipeline here, on examples/, and print the verdict
	$(TUNEPIPE) compile
	$(TUNEPIPE) run --backend local --dataset examples/orders.jsonl --again

demo-vertex: $(INSTALLED) ## run the same on Vertex AI's stand-in on this machine: no account
	$(BIN)/python -m tests.standin.demo $(ARGS)

test: $(INSTALLED) browser ## run all tests
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

check: $(INSTALLED) ## formatting, lint, types, and whether compiled/ is current
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict tunepipe
	$(TUNEPIPE) compile --check
	$(BIN)/python docs/generate.py --check

compile: $(INSTALLED) ## write compiled/ anew; BASE_IMAGE=… names an image that has the packages
	$(TUNEPIPE) compile $(if $(BASE_IMAGE),--base-image $(BASE_IMAGE))

run: $(INSTALLED) ## tune on Vertex AI: REGION=… PROJECT=… DATASET=gs://… BUCKET=gs://…
	$(TUNEPIPE) run --backend $(BACKEND) --region $(REGION) --project $(PROJECT) --dataset $(DATASET) --bucket $(BUCKET) $(ARGS)

schedule: $(INSTALLED) ## retrain at set times: NAME=… CRON="TZ=Asia/Tokyo 0 3 * * 1", and as for run
	$(TUNEPIPE) schedule apply --name $(NAME) --cron "$(CRON)" --backend $(BACKEND) --region $(REGION) --project $(PROJECT) --dataset $(DATASET) --bucket $(BUCKET) $(ARGS)

docs: $(INSTALLED) ## write the generated parts of docs/ anew
	$(BIN)/python docs/generate.py

browser:
	@command -v chromium chromium-browser google-chrome >/dev/null || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } || \
	  echo "no Chromium here: the tests of the pages will be skipped"

clean: ## remove what the other targets made, but for .venv and runs/
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
