# Every target does all the set-up it needs on a machine with Python 3.11, git and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo docs test test-slow test-training test-services test-cluster load lint check lock images image-functions image-models image-dashboard image-training clean help

help:            ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 18

demo: $(VENV)/.core      ## a simulated site through the whole platform, to a map
	$(BIN)/groundshift demo --out demo

test: $(VENV)/.dev       ## every test that takes seconds
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

test-slow: $(VENV)/.dev  ## the long ones too: 20 kill seeds, full-size memory (about 30 minutes)
	$(BIN)/python -m pytest -q -m slow

test-training: $(VENV)/.training  ## the tests that need torch
	$(BIN)/python -m pytest -q -m training

test-services: $(VENV)/.dev  ## against real PostgreSQL, S3, Kafka and Prometheus servers (the first time builds them: about 30 minutes on 2 cores)
	$(BIN)/python -m groundshift.testing.servers .services
	$(BIN)/python -m pytest -q -m services tests/services

test-cluster: $(VENV)/.dev  ## end to end on Kubernetes: KUBECONFIG's, else the one beside this folder
	tests/cluster/run

load: $(VENV)/.dev       ## load test: intake, models, a burst of 200 scenes; writes docs/load.md (TARGET=cluster: the KUBECONFIG's)
	PYTHONPATH=benchmarks $(BIN)/python -m load $(or $(TARGET),embedded)

lint: $(VENV)/.dev       ## format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.core      ## renew the generated tables in README.md and docs/
	$(BIN)/python -m functions.docs

check: lint test         ## lint and test: what CI runs beside `make test-cluster`

# Of what pip would install too, the images import nothing: other file formats, an asyncio client,
# tokens, image codecs. tests/manifests/test_images.py holds the lists against what is imported.
NOT_IN_IMAGES := aiohappyeyeballs aiohttp aiohttp-retry aiosignal frozenlist multidict propcache yarl
NOT_IN_FUNCTIONS := $(NOT_IN_IMAGES) imageio networkx pyogrio tifffile
NOT_IN_DASHBOARD := $(NOT_IN_IMAGES) imageio networkx pyogrio tifffile
NOT_IN_MODELS := $(NOT_IN_IMAGES) cffi cryptography flatbuffers grpcio-tools pillow pyasn1 pycparser pyjwt setuptools
# Without a GPU CUDA's libraries are 2.7 GB of nothing; docker/without-cuda puts stand-ins in their place.
NOT_IN_TRAINING := cuda-bindings cuda-pathfinder cuda-toolkit nvidia-cublas nvidia-cuda-cccl nvidia-cuda-cupti \
  nvidia-cuda-nvrtc nvidia-cudnn-cu13 nvidia-cufft nvidia-cufile nvidia-cusolver nvidia-cusparse \
  nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink nvidia-nvshmem-cu13 nvidia-nvtx pyogrio triton
COMPILE = $(BIN)/uv pip compile -q --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --python-version 3.11

# The largest list decides, the others follow it: one version of everything, whatever is installed.
lock: $(VENV)/.dev       ## renew the hashed lock files
	$(PIP) install uv
	$(COMPILE) pyproject.toml --extra training --extra dev -o requirements-training.lock
	$(COMPILE) pyproject.toml -c requirements-training.lock -o requirements.lock
	$(COMPILE) pyproject.toml --extra dev -c requirements-training.lock -o requirements-dev.lock
	$(COMPILE) --group image-build -c requirements-training.lock -o requirements-build.lock
	$(COMPILE) --group image-functions -c requirements-training.lock $(addprefix --no-emit-package ,$(NOT_IN_FUNCTIONS)) -o requirements-functions.lock
	$(COMPILE) --group image-dashboard -c requirements-training.lock $(addprefix --no-emit-package ,$(NOT_IN_DASHBOARD)) -o requirements-dashboard.lock
	$(COMPILE) --group image-models -c requirements-training.lock $(addprefix --no-emit-package ,$(NOT_IN_MODELS)) -o requirements-models.lock
	$(COMPILE) --group image-training -c requirements-training.lock $(addprefix --no-emit-package ,$(NOT_IN_TRAINING)) -o requirements-image-training.lock

# The package index of this machine goes into the build, and into no image.
IMAGES ?= groundshift-
TAG ?= dev
PASSED_ON := PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST PIP_CERT PIP_DEFAULT_TIMEOUT HTTP_PROXY HTTPS_PROXY NO_PROXY
BUILD = docker build -q $(DOCKER_BUILD) $(foreach v,$(PASSED_ON),$(if $($(v)),--build-arg $(v))) \
  --build-arg REVISION=$$(git rev-parse HEAD) --build-arg CREATED=$$(date -u +%FT%TZ)

images: image-functions image-models image-dashboard  ## build the container images; print what is in them and how fast they start
	$(PYTHON) benchmarks/images.py $(IMAGES)functions:$(TAG) $(IMAGES)models:$(TAG)

image-functions image-dashboard image-training: image-%:
	$(BUILD) --target $* -t $(IMAGES)$*:$(TAG) .

image-models:
	$(BUILD) --target model-server -t $(IMAGES)models:$(TAG) .

clean:           ## remove what the other targets made
	rm -rf $(VENV) demo build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

# One environment; each level adds to the one below, always from hashes.
$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11) and "groundshift needs Python 3.11 or newer; name one with PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: requirements.lock pyproject.toml | $(BIN)/python
	$(PIP) install --require-hashes -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.core
	$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

$(VENV)/.training: requirements-training.lock $(VENV)/.dev
	$(PIP) install --require-hashes -r requirements-training.lock
	@touch $@
