# Two commands for a newcomer: `make demo` and `make test`.  POSIX make and sh; needs Python >= 3.11 and nothing else.
.POSIX:

VENV = .venv
BIN = $(VENV)/bin
PYTHON =
CONSTRAINTS = constraints.txt
INSTALL = $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --constraint $(CONSTRAINTS)
PACKAGES = synth_components mlflow_flavor kubeflow/synth_kubeflow sagemaker/synth_sagemaker
# Processes that share the tests.
WORKERS = 2
PYTEST_ARGS =

help:
	@echo 'make demo    train, sample, evaluate and register on real data; results in demo-output/'
	@echo 'make test    run the tests'
	@echo 'make slow    run the slow tests'
	@echo 'make lint    check style and format'
	@echo 'make types   check types'
	@echo 'make docs    write docs/configuration.md from the declared options'
	@echo 'make ci      everything that CI runs'
	@echo 'make clean   remove what these commands made'
	@echo 'PYTHON=...   the interpreter for a new .venv (default: the first Python >= 3.11 found)'

demo: $(VENV)/demo.stamp
	$(BIN)/python -m synth_components demo --output demo-output
	@echo; echo 'Then into a model registry, and back by its alias:'
	@python=$$(cd $(BIN) && pwd)/python && cd demo-output && \
	export MLFLOW_TRACKING_URI=sqlite:///mlflow.db MLFLOW_LOGGING_LEVEL=ERROR && \
	"$$python" -m synth_components mlflow register --model model --report report.json --name demo --alias champion && \
	"$$python" -c 'import mlflow_flavor; print(mlflow_flavor.load_model("models:/demo@champion").sample(3, seed=1))'
	@echo; echo 'The run, with its charts and report, on http://127.0.0.1:5000:'
	@echo '  cd demo-output && ../$(BIN)/mlflow ui --backend-store-uri sqlite:///mlflow.db'

# A thread more in each process, which small tables give nothing to do, only takes turns with the other process.
test: $(VENV)/dev.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(WORKERS) $(PYTEST_ARGS)

slow: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -m slow -o timeout=1800 $(PYTEST_ARGS)

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev.stamp
	$(BIN)/mypy --strict $(PACKAGES)

docs: $(VENV)/dev.stamp
	$(BIN)/python -m synth_components.steps.reference > docs/configuration.md.part
	mv docs/configuration.md.part docs/configuration.md

ci:
	.ci/run

clean:
	rm -rf $(VENV) demo-output synth-run build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@for candidate in $(PYTHON) python3.11 python3 python3.12 python3.13 python; do \
		if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
			echo "making $(VENV) with $$candidate ..."; \
			exec "$$candidate" -m venv $(VENV); \
		fi; \
	done; \
	echo 'No Python >= 3.11 found: install one (with its venv module), or name one: make PYTHON=/path/to/python3.11' >&2; \
	exit 2

# A stamp is newer than what it was installed from, so a second call installs nothing.
$(VENV)/demo.stamp: pyproject.toml $(CONSTRAINTS)
	@$(MAKE) $(BIN)/python
	@echo 'installing synth-components ...'
	@$(INSTALL) --editable '.[mlflow]'
	@touch $@

$(VENV)/dev.stamp: pyproject.toml $(CONSTRAINTS)
	@$(MAKE) $(BIN)/python
	@echo 'installing synth-components with its tests and tools ...'
	@$(INSTALL) --editable '.[dev,dp,fsspec,hdf5,kubeflow,mlflow,serve,sql]'
	@touch $(VENV)/demo.stamp $@

.PHONY: help demo test slow lint types docs ci clean
