# Every target makes .venv itself when it is missing or older than what it is made from.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.made

.PHONY: demo test lint bench calibrate tables clean

demo: $(STAMP)
	$(BIN)/gaussprobe demo --out build/demo

test: $(STAMP)
	$(BIN)/python -m pytest -n 2

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p gaussprobe
	$(BIN)/lint-imports --no-cache

bench: $(STAMP)
	$(BIN)/python -m pytest tests/benchmarks -s --benchmark-only --benchmark-disable-gc

# The false-positive rates of every p-value and of the verdicts, into docs/ (about ten minutes).
calibrate: $(STAMP)
	$(BIN)/python -m tests.calibration.run --out docs/calibration.md
	$(BIN)/python -m tests.calibration.verdicts --out docs/verdicts.md

# The Monte Carlo tables shipped in gaussprobe/stats/data.
tables: $(STAMP)
	$(BIN)/python -m gaussprobe.stats.build_tables

$(STAMP): pyproject.toml constraints.txt requirements-assets.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,demo]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps --requirement requirements-assets.txt
	touch $@

clean:
	rm -rf .venv build dist *.egg-info
