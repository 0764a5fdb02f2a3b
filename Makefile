# The task runner. CI runs these targets, word for word.
#
#   make setup       .venv with everything, the extension built against the torch that is there
#   make demo        sample ethanol, train a potential, check it, run dynamics: a report in demo/
#   make test        the fast tests (minutes)
#   make test-slow   the rest: packaging, other backends, long trainings
#   make lint        ruff, types, spelling, the import contract
#   make docs        the documentation, warnings as errors, in docs/_build/html
#   make cuda-compile   the CUDA kernels, for one architecture, where there is nvcc; needs no GPU
#   make bench       the measured tables: writes benchmarks/results and redraws what is rendered from them
#   make bench-kernels  of these, kernels and networks beside other libraries (two hours; the machine should be idle)
#   make bench-training  acetylacetone: error against training time beside mace-torch (15 minutes each); networks with
#                    Gaunt products (hours)

SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
TORCH ?= torch==2.13.0
WORKERS ?= 2
NATIVE := $(wildcard csrc/*/*.h csrc/*/*.cpp csrc/*/*.cu csrc/cuda/*.py)

.PHONY: setup demo test test-slow test-e3nn04 lint docs bench bench-kernels bench-training cuda-compile clean

setup: $(VENV)/.installed

$(PY):
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "equitools needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)

# A torch >= 2.10 that is already in the environment stays; otherwise the pinned one is installed. The extension is
# built without isolation, so that it sees this torch and no second one is downloaded.
$(VENV)/.installed: $(PY) setup.cfg setup.py pyproject.toml $(NATIVE)
	$(PIP) install --quiet "setuptools>=70" wheel
	@$(PY) -c 'import torch; v = tuple(map(int, torch.__version__.split("+")[0].split(".")[:2])); assert v >= (2, 10); print("keeping torch", torch.__version__)' 2>/dev/null \
		|| $(PIP) install --quiet "$(TORCH)"
	$(PIP) install --quiet --no-build-isolation --editable ".[demo,dev]"
	$(PY) -m equitools info
	@touch $@

demo: setup
	$(PY) -m equitools demo

test: setup
	OMP_NUM_THREADS=1 $(PY) -m pytest -m "not slow" -n $(WORKERS) tests

test-slow: setup
	$(PY) -m pytest -m slow tests

# The same package beside e3nn 0.4.4 (the version that mace-torch pins), in an environment of its own: it has its own
# e3nn and borrows every other package from $(VENV).
test-e3nn04: setup
	test -x $(VENV)-e3nn04/bin/python || $(PYTHON) -m venv $(VENV)-e3nn04
	$(VENV)-e3nn04/bin/python -m pip --disable-pip-version-check install --quiet --no-deps e3nn==0.4.4
	$(PY) -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])' > "$$($(VENV)-e3nn04/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/borrowed.pth"
	OMP_NUM_THREADS=1 PYTHONPATH=. EXPECT_E3NN=0.4.4 $(VENV)-e3nn04/bin/python -m pytest -m "not slow" -n $(WORKERS) tests/test_e3nn_version.py tests/groups tests/nn tests/ops

lint: setup
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/codespell README.md CHANGELOG.md CONTRIBUTING.md docs/*.md equitools csrc tests benchmarks examples

docs: setup
	$(PY) benchmarks/render.py
	$(PY) -m sphinx --quiet -W --keep-going -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

# Compiles and links; nothing is run. tests/csrc/test_cuda_library.py looks at the result.
cuda-compile: setup
	$(PY) csrc/cuda/build.py --arch 90 --output build/cuda/_C_cuda.abi3.so

bench: bench-kernels
	$(PY) benchmarks/acac.py
	$(PY) benchmarks/copper.py
	$(PY) benchmarks/demo.py
	$(PY) benchmarks/tetris.py
	$(PY) benchmarks/continuity.py
	$(PY) benchmarks/haar.py
	$(PY) benchmarks/decompositions.py
	$(PY) benchmarks/adaptation.py --choose
	$(PY) benchmarks/adaptation.py
	$(PY) benchmarks/render.py

bench-kernels: setup
	$(PY) benchmarks/kernels.py
	$(PY) benchmarks/model_step.py
	$(PY) benchmarks/frames.py
	$(PY) benchmarks/gaunt_crossover.py
	$(PY) benchmarks/gaunt.py
	$(PY) benchmarks/many_body.py
	$(PY) benchmarks/diagrams.py
	$(PY) benchmarks/matrix_functions.py
	$(PY) benchmarks/render.py

bench-training: setup
	$(PY) benchmarks/time_to_accuracy.py --minutes 15
	$(PY) benchmarks/gaunt_training.py
	$(PY) benchmarks/lie_gan.py
	$(PY) benchmarks/per_inertia.py
	$(PY) benchmarks/affine_digits.py
	$(PY) benchmarks/gfno.py
	$(PY) benchmarks/render.py

clean:
	rm -rf build dist *.egg-info equitools/*.so docs/_build demo runs
