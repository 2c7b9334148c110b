# Two commands for a newcomer: `make demo` and `make test`. Both need Python 3.11+, pip and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= ../shared/data

.PHONY: demo test lint check bench bench-genome bench-twin bench-serve bench-learn bench-factorise load-test evaluate evaluate-quick study laws fuzz kill-test clean

$(VENV)/.base: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("posologist needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

$(VENV)/.test: $(VENV)/.base
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	touch $@

demo: $(VENV)/.base  ## the founding case end to end: prints the ranked table, writes demo.html
	$(BIN)/posologist demo

test: $(VENV)/.test  ## every test (the variable lets scikit-learn check arrays of other libraries too)
	SCIPY_ARRAY_API=1 $(BIN)/python -m pytest

lint: $(VENV)/.test  ## static checks
	$(BIN)/ruff check src tests tools benchmarks
	$(BIN)/ruff format --check src tests tools benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .

check: $(VENV)/.base  ## our own knowledge: schema, citations, worked cases
	$(BIN)/posologist check

bench: $(VENV)/.test  ## speed, never as a timed test
	$(BIN)/python benchmarks/run.py

bench-genome: $(VENV)/.test  ## genomes: one patient, a whole genome, a hundred thousand samples; PYPGX=... beside it
	$(BIN)/python benchmarks/genome.py

bench-twin: $(VENV)/.test  ## the twin: estimates, posterior, regimens, `dose` as a whole process
	$(BIN)/python benchmarks/twin.py

laws: $(VENV)/.test  ## the laws of the twin, on two thousand random models each
	POSOLOGIST_LAW_EXAMPLES=2000 $(BIN)/python -m pytest tests/test_twin_laws.py

bench-serve: $(VENV)/.test  ## requests a second over HTTP
	$(BIN)/python benchmarks/serve.py

bench-learn: $(VENV)/.test  ## a learned model: fitting, opening, asking with contributions
	$(BIN)/python benchmarks/learn.py

bench-factorise: $(VENV)/.test  ## 100,000 patients x 500 treatments; RIVALS=python of an environment with cornac, implicit, surprise
	$(BIN)/python benchmarks/factorise.py

evaluate: $(VENV)/.test  ## every learned task on the public tables of DATA, into evaluation/ (about 15 minutes on two cores)
	$(BIN)/posologist evaluate all --data $(DATA) --out evaluation

evaluate-quick: $(VENV)/.test  ## the same on fewer rows: a check that all works, not a result
	$(BIN)/posologist evaluate all --data $(DATA) --quick --out evaluation-quick

study: $(VENV)/.test  ## the simulated studies: which drug, which dose, factorisation, into evaluation/ (about 25 minutes on two cores)
	for task in hypertension-simulator nifedipine-dose factorisation factorisation-case; do \
	  $(BIN)/posologist evaluate $$task --out evaluation || exit $$?; done

load-test: $(VENV)/.test  ## ten minutes of load: flat memory, no error
	$(BIN)/python benchmarks/serve.py --minutes 10

fuzz: $(VENV)/.test  ## a hundred thousand mutated VCFs, all genes; ten thousand mutated hook requests
	POSOLOGIST_MUTATED_FILES=100000 $(BIN)/python -m pytest tests/test_genome_laws.py -k mutated
	POSOLOGIST_MUTATIONS=10000 $(BIN)/python -m pytest tests/test_hooks_mutations.py

kill-test: $(VENV)/.test  ## a thousand writers killed at any moment: nothing that was acknowledged is lost
	POSOLOGIST_KILLS=1000 $(BIN)/python -m pytest tests/test_store.py -k killed_at_any_moment_loses_nothing_that

clean:
	rm -rf $(VENV) demo.html evaluation evaluation-quick .pytest_cache .mypy_cache .ruff_cache
