# Every target builds .venv by itself when it is missing or older than what it is built from.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export DO_NOT_TRACK := 1
export GX_ANALYTICS_ENABLED := false

.PHONY: setup audit test examples coverage test-all lint bench benchmark coverage-study detection-study docs clean reconstruction repair-study fault-study kill-study scale-study model-study check-cost
.DEFAULT_GOAL := audit

# What is imported is compiled then: compiling all that is installed takes a minute.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	{ echo "'$(PYTHON)' is no Python 3.11, 3.12 or 3.13, which this project needs: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt pip setuptools
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --group dev --editable .
	@touch $(STAMP)

setup: $(STAMP)  ## install everything into .venv

audit: $(STAMP)  ## the default audit: from images to verdict and report
	$(BIN)/kedro run

lint: $(STAMP)  ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Files keep the order of tests/conftest.py.
PARALLEL := -n 2 --dist loadfile --no-loadscope-reorder

examples: $(STAMP)  ## the examples of docstrings
	$(BIN)/python -m pytest --doctest-modules src

test: $(STAMP)  ## lint beside the examples of docstrings, then all tests that take seconds
	$(MAKE) --jobs 2 lint examples
	$(BIN)/python -m pytest -m "not slow" $(PARALLEL)

# Counting lines doubles the time of the statistics' tests, so it is no part of `test`.
JUDGING := $(foreach part,core judgement ptq registry statistics,--cov=ptq_pipeline.$(part))

coverage: $(STAMP)  ## the same tests; at least nine lines in ten of what makes a verdict are run
	$(BIN)/python -m pytest -m "not slow" $(PARALLEL) $(JUDGING) --cov-report=term:skip-covered --cov-fail-under=90

test-all: lint  ## lint, then every test
	$(BIN)/python -m pytest $(PARALLEL)

bench: $(STAMP)  ## the audit's time beside three plain loops, and where it goes
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/audit_time.py

benchmark: $(STAMP)  ## RQ1-RQ3 on both reference models side by side; it can be stopped and goes on
	$(BIN)/kedro run --pipelines data_loading
	$(BIN)/kedro run --pipelines benchmark --nodes benchmark_resnet20 & \
	$(BIN)/kedro run --pipelines benchmark --nodes benchmark_mobilenet_v2_small; here=$$?; \
	wait $$! && exit $$here
	$(BIN)/kedro run --pipelines benchmark --nodes analyse_benchmark,draw_benchmark

detection-study: $(STAMP)  ## which objects a quantized detector no longer finds, on composed scenes: about 30 minutes
	$(BIN)/python benchmarks/detection_study.py audit scenes --recipes w8a8_minmax --draws 50
	$(BIN)/python benchmarks/detection_study.py audit scenes --recipes w4a8_minmax

reconstruction: $(STAMP)  ## every method on both reference models: hours, but it can be stopped and goes on
	$(BIN)/kedro run --env study/reconstruction --pipelines data_loading
	$(BIN)/python benchmarks/reconstruction_study.py

repair-study: $(STAMP)  ## the best worst group against the best average at few bits: an hour of processor time, goes on where it was
	$(BIN)/kedro run --pipelines data_loading
	$(BIN)/python benchmarks/repair_study.py

coverage-study: $(STAMP)  ## error rates, coverage and power of every bound; writes docs/coverage.md
	$(BIN)/python benchmarks/coverage_study.py

fault-study: $(STAMP)  ## poison, swap, shorten or flip every input of a verdict; see docs/security.md
	$(BIN)/python benchmarks/fault_study.py

model-study: $(STAMP)  ## which classifiers of torchvision and timm are served; hours, goes on where it was; writes docs/models.md
	$(BIN)/python benchmarks/model_study.py

kill-study: $(STAMP)  ## kill every command that changes something at random instants; see docs/security.md
	$(BIN)/python benchmarks/kill_study.py

scale-study: $(STAMP)  ## the audit on workers that share only a bucket, beside one machine: the same bytes, what was moved, how long
	$(BIN)/python benchmarks/scale_study.py

check-cost: $(STAMP)  ## what checking content costs in a first and a second audit
	$(BIN)/python benchmarks/check_cost.py

clean:  ## remove .venv
	rm -rf $(VENV)

docs: $(STAMP)  ## the documentation as a site in build/docs
	$(BIN)/mkdocs build --quiet
