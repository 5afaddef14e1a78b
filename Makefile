# GAVIP. `make run` and `make test` each do all their own set-up in a fresh clone.
PYTHON ?= python3
PORT ?= 8000
BACKEND ?= process
EXTRA := $(if $(filter docker,$(BACKEND)),server,embedded)
VENV := .gavip/venv/bin
export GAVIP_STATE ?= $(CURDIR)/.gavip/state

# bootstrap.py says which Python it needs, but there must be one, and not a Python 2, to say so
define setup
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[0] < 3)' 2>/dev/null || { \
	echo "✗ $(PYTHON) is not there or is not Python 3. GAVIP needs Python 3.10 or newer:"; \
	echo "install it (on Debian: apt install python3-venv), or name another one: make $@ PYTHON=python3.11"; exit 1; }
@$(PYTHON) hub_config/bootstrap.py
endef

.PHONY: help run test soak lint format bench images locks docs clean

help:  ## say what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

run:  ## set up and start the whole platform (BACKEND=docker, PORT=8001, ARGS="--archive URL")
	$(setup) --extra $(EXTRA)
	@$(if $(filter docker,$(BACKEND)),$(VENV)/python -m images.build avi-python avi-lab,true)
	@exec $(VENV)/gavip up --backend $(BACKEND) --port $(PORT) $(ARGS)

test:  ## set up and run the tests (ARGS="-k name")
	$(setup) --extra test
	@cd extensions && PATH="$(CURDIR)/$(VENV):$$PATH" npm test --silent
	@$(VENV)/python -m pytest $(ARGS)

soak:  ## kill the platform's parts at random for minutes (the long forms of fault tests)
	$(setup) --extra test
	@GAVIP_SOAK=1 $(VENV)/python -m pytest -q tests/faults tests/docker/test_queue_soak.py tests/docker/test_restarts.py $(ARGS)

lint:  ## ruff, mypy, prettier, tsc
	$(setup) --extra dev
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/mypy
	cd extensions && PATH="$(CURDIR)/$(VENV):$$PATH" npm run check && PATH="$(CURDIR)/$(VENV):$$PATH" npm run format

format:  ## format Python and TypeScript
	$(VENV)/ruff format .
	$(VENV)/ruff check --fix .
	cd extensions && PATH="$(CURDIR)/$(VENV):$$PATH" npm run format:write

bench:  ## run the benchmarks and print their tables
	$(setup) --extra test
	@for script in tests/bench/*/bench_*.py; do echo "== $$script"; $(VENV)/python $$script || exit 1; done

images:  ## build the container images that changed (NAMES="avi-python", BASE_IMAGE=debian@sha256:…)
	$(setup) --extra images
	@$(VENV)/python -m images.build $(NAMES)

locks:  ## resolve the versions of what goes into the images anew (NAMES="python lab")
	$(setup) --extra images
	@$(VENV)/python -m images.lock $(NAMES)

docs:  ## build the documentation, warnings as errors
	$(setup) --extra docs
	$(VENV)/python -m sphinx -W --keep-going -b html docs docs/_build

clean:  ## remove everything that make made, the platform's state included
	rm -rf .gavip artifacts docs/_build extensions/node_modules gavip_portal/static/dist
