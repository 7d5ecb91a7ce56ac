# Every target makes .venv itself when it is missing or older than what it is made from.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.made

.PHONY: demo test lint fuzz bench bench-gpu calibrate results preactivations tables clean

demo: $(STAMP)
	$(BIN)/gaussprobe demo --out build/demo

test: $(STAMP)
	$(BIN)/python -m pytest -n 2

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p gaussprobe
	$(BIN)/lint-imports --no-cache

# 2,000 altered files of every kind through the command line (about five minutes on free cores).
fuzz: $(STAMP)
	$(BIN)/python -m tests.fuzz.run --cases 2000

# Timings, as ratios, into docs/benchmarks.md (about ten minutes on free cores).
bench: $(STAMP)
	$(BIN)/python -m pytest tests/benchmarks -s -m "not gpu" --benchmark-only --benchmark-disable-gc --page docs/benchmarks.md

# The same on a CUDA device, into the same page; skipped where there is none.
bench-gpu: $(STAMP)
	$(BIN)/python -m pytest tests/benchmarks -s -m gpu --benchmark-only --benchmark-disable-gc --page docs/benchmarks.md

# How often p-values, intervals and verdicts are wrong, and how often the tests are right, into docs/.
calibrate: $(STAMP)
	$(BIN)/python -m tests.calibration.run --out docs/calibration.md
	$(BIN)/python -m tests.calibration.multivariate --out docs/multivariate.md
	$(BIN)/python -m tests.calibration.power --out docs/power.md
	$(BIN)/python -m tests.calibration.intervals --out docs/intervals.md
	$(BIN)/python -m tests.calibration.verdicts --out docs/method.md
	$(BIN)/python -m tests.calibration.normality --out docs/normality.md
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m tests.calibration.events --out docs/events.md

# The recipes of `compare`, their ablation and sweeps, into docs/ (an hour on two free cores; goes on where it was).
results: $(STAMP)
	$(BIN)/python -m docs.examples.results --jobs 2 --out build/results --page docs/results.md

# Networks at initialization, and phi_theta trained against ReLU and tanh, into docs/ (half an hour on two cores).
preactivations: $(STAMP)
	$(BIN)/python -m docs.examples.preactivations --page docs/preactivations.md
	$(BIN)/python -m docs.examples.preserving --jobs 2 --out build/preserving --page docs/preserving.md

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
