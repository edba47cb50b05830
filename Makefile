# `make help` lists what there is to do.
PYTHON ?= python3
VENV ?= .venv
REGION ?= us-central1
BACKEND ?= large-model
NAME ?= weekly
VARIANT ?= cpu
PIP_ARGS ?=

BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
TUNEPIPE := $(BIN)/tunepipe
PIP := $(BIN)/python -m pip install --disable-pip-version-check
UV := $(shell command -v uv)
# In a variable, as a comma within $(if …) ends its argument.
DEMO_EXTRAS := local,tables
TORCH_INDEX ?= $(if $(filter Linux,$(shell uname -s)),https://download.pytorch.org/whl/cpu)

LOCK := tunepipe/packaging/requirements.lock
COMPILE_LOCK := $(BIN)/uv --quiet pip compile pyproject.toml --extra all --extra qlora --universal \
  --python-version 3.11 --generate-hashes --no-emit-package tunepipe \
  --constraints constraints.txt --custom-compile-command "make lock"

.DEFAULT_GOAL := help
.PHONY: help install demo demo-vertex standin test check audit sbom lock lock-check mutants image compile run schedule docs site browser clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

install: $(INSTALLED) ## create .venv with all extras and the tools of development

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --quiet $(PIP_ARGS) -c constraints.txt -e '.[dev]'
	touch $@ $(VENV)/demo

# What the demo needs alone; `make install` brings it too. PyPI's torch for Linux brings gigabytes of
# CUDA, so that PyTorch's own index is asked for its build for CPUs; TORCH_INDEX= takes PyPI's.
$(VENV)/demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@if [ -n "$(TORCH_INDEX)" ]; then \
	  echo "torch for CPUs from $(TORCH_INDEX)"; \
	  $(PIP) --quiet --retries 1 $(PIP_ARGS) -c constraints.txt --no-deps --index-url $(TORCH_INDEX) torch 2>/dev/null || \
	  echo "not reached: the next step takes torch from the usual index"; \
	fi
	$(if $(UV),$(UV) pip install --python $(BIN)/python -c constraints.txt -e '.[$(DEMO_EXTRAS)]' ||) \
	  $(PIP) --progress-bar on $(PIP_ARGS) -c constraints.txt -e '.[$(DEMO_EXTRAS)]' | grep -v 'already satisfied'
	@test -x $(TUNEPIPE) # grep hides how pip has ended
	touch $@

demo: $(VENV)/demo ## run the whole pipeline here, on examples/, and print the verdict
	$(TUNEPIPE) run --backend local --dataset examples/orders.jsonl --again
	@echo "call the command as $(TUNEPIPE), or first: source $(BIN)/activate"

demo-vertex: $(INSTALLED) ## run the same on Vertex AI's stand-in on this machine: no account
	$(BIN)/python -m tests.standin.demo $(ARGS)

standin: $(INSTALLED) ## a stand-in of Google Cloud that stays up: for trying commands without an account
	$(BIN)/python -m tests.standin.serve

test: $(INSTALLED) browser ## run all tests
	$(BIN)/python -m pytest -n 3 --dist loadfile $(ARGS)

check: $(INSTALLED) audit lock-check ## formatting, lint, types, security, and whether generated files are current
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict tunepipe
	$(TUNEPIPE) compile --check
	$(BIN)/python docs/generate.py --check

audit: $(INSTALLED) ## Bandit over the code; known vulnerabilities of the locked packages
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml -ll tunepipe components pipelines
	mkdir -p build
	$(BIN)/pip-audit --requirement requirements.lock --require-hashes --disable-pip \
	  --progress-spinner off --format json --output build/audit.json

sbom: $(INSTALLED) ## write build/sbom-*.json, CycloneDX: of the wheel, and of the image's two variants
	mkdir -p build
	$(BIN)/cyclonedx-py requirements $(LOCK) --pyproject pyproject.toml \
	  --output-reproducible --of JSON -o build/sbom-wheel.json
	$(BIN)/python .ci/image_sbom.py build/sbom-wheel.json

lock: $(INSTALLED) ## write requirements.lock: every package of [all,qlora] with its hashes
	$(COMPILE_LOCK) --output-file $(LOCK)

lock-check: $(INSTALLED) ## compare requirements.lock with pyproject.toml and constraints.txt
	mkdir -p build && cp $(LOCK) build/requirements.lock
	$(COMPILE_LOCK) --output-file build/requirements.lock
	diff -u $(LOCK) build/requirements.lock || { echo "stale: run make lock"; exit 1; }

mutants: $(INSTALLED) ## make random wrong changes and see whether the tests notice: ARGS="--sample 60 --seed 1"
	$(BIN)/python -m tests.mutants $(ARGS)

site: $(INSTALLED) ## write site/: the documentation, readable without a network
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

image: $(INSTALLED) ## build the image whose steps install nothing: IMAGE=NAME:TAG VARIANT=cpu or cuda BUILD_ARGS=…
	@for builder in docker podman buildah none; do $$builder info >/dev/null 2>&1 && break; done; \
	[ $$builder != none ] || { echo "no docker, podman or buildah answers here"; exit 1; }; \
	$$builder build --label tunepipe.code=$$($(BIN)/python -m tunepipe.packaging.installed hash) \
	  --build-arg VARIANT=$(VARIANT) --tag $(or $(IMAGE),tunepipe:$(VARIANT)) $(BUILD_ARGS) .

compile: $(INSTALLED) ## write compiled/; IMAGE=… names an image that has the package
	$(TUNEPIPE) compile $(if $(IMAGE),--image $(IMAGE))

run: $(INSTALLED) ## tune on Vertex AI: REGION=… PROJECT=… DATASET=gs://… BUCKET=gs://…
	$(TUNEPIPE) run --backend $(BACKEND) --region "$(REGION)" --project "$(PROJECT)" --dataset "$(DATASET)" --bucket "$(BUCKET)" $(ARGS)

schedule: $(INSTALLED) ## retrain at set times: NAME=… CRON="TZ=Asia/Tokyo 0 3 * * 1", and as for run
	$(TUNEPIPE) schedule apply --name $(NAME) --cron "$(CRON)" --backend $(BACKEND) --region "$(REGION)" --project "$(PROJECT)" --dataset "$(DATASET)" --bucket "$(BUCKET)" $(ARGS)

docs: $(INSTALLED) ## write the generated parts of docs/
	$(BIN)/python docs/generate.py

browser:
	@command -v chromium chromium-browser google-chrome >/dev/null || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } || \
	  echo "no Chromium here: the tests of the pages will be skipped"

clean: ## remove what the other targets wrote, except .venv and runs/
	rm -rf build dist site .standin *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
