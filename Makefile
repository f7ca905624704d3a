PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One thread a process: the tests and the examples run one process per core.
export OMP_NUM_THREADS ?= 1

.PHONY: demo bench test attack docs lint format clean

demo: $(VENV)/.installed  ## the digits example: pictures and a table in out/digits
	$(BIN)/python examples/digits.py --seeds 1 --out out/digits

bench: $(VENV)/.installed  ## speed and memory as ratios to code by hand: docs/performance.md
	$(BIN)/python -m benchmarks.bench --page docs

test: $(VENV)/.installed lint  ## everything that is tested
	$(BIN)/python -m pytest -n 2

attack: $(VENV)/.installed  ## hostile inputs, damaged files, kills and threads: ten times as many as in test
	PRIMO_ATTACK=10 $(BIN)/python -m pytest -n 2 tests/attacks

docs: $(VENV)/.docs  ## the site: every notebook of docs/ run, out in build/site
	$(BIN)/sphinx-build -q -W --keep-going -j 2 -d build/doctrees docs build/site
	$(BIN)/python docs/check_width.py build/site

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[tests]'
	touch $@

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) out build *.egg-info
