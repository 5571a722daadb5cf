# make demo: the whole pipeline on the embedded phantoms. make test: all checks and tests.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
CORES ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
BIN := .venv/bin

.PHONY: demo demo-nnunet test test-nnunet test-conda test-schedulers test-slurm check viewer reference rulegraph pins clean

demo: .venv/demo.ready
	@$(BIN)/python -m vertseg.core.stale_lock results/demo config/demo.yaml
	$(BIN)/snakemake --cores $(CORES) --configfile config/demo.yaml

# The demo with nnU-Net's three methods, which come with an environment of their own (2 GB).
demo-nnunet: .venv/demo.ready .venv-nnunet/ready
	$(BIN)/snakemake --cores $(CORES) --configfile config/demo.yaml config/demo_nnunet.yaml

test: check
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile \
		--no-loadscope-reorder

# nnU-Net itself, in an environment of its own (1.9 GB).
test-nnunet: .venv/test.ready .venv-nnunet/ready
	$(BIN)/python -m pytest -m nnunet

# Every step in its conda environment, from a channel that is built for it.
test-conda: .venv/test.ready
	$(BIN)/python -m pytest -m conda

# Profiles of Grid Engine and LSF, with commands that stand in for the schedulers'.
test-schedulers: .venv/test.ready
	$(BIN)/python -m pytest -m scheduler

# The workflow on a real SLURM of one node, which it installs (root, Debian).
test-slurm: .venv/test.ready
	$(BIN)/python -m pytest tests/clusters/slurm/on_slurm.py

# An image with every step's conda environment; needs conda.
build/Dockerfile: Snakefile $(wildcard rules/*.smk envs/*.yaml) .venv/demo.ready
	mkdir -p build
	$(BIN)/snakemake --containerize > $@.part
	mv $@.part $@

check: .venv/test.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check .
	$(BIN)/snakemake --lint --configfile config/demo.yaml
	$(BIN)/mypy
	$(BIN)/lint-imports

# Bundles the report's viewer (NiiVue) at the versions that viewer/package-lock.json states; needs npm.
viewer:
	npm --prefix viewer ci --ignore-scripts
	npm --prefix viewer run build

# After an edit of the configuration's schema.
reference: .venv/demo.ready
	$(BIN)/python -m vertseg.dataset.reference schemas/config.schema.yaml > docs/configuration.md.part
	mv docs/configuration.md.part docs/configuration.md

# Needs Graphviz (apt-get install graphviz).
rulegraph: .venv/demo.ready
	$(BIN)/snakemake --rulegraph dot | dot -Tsvg -o docs/images/rulegraph.svg

# After an edit of requirements.txt or requirements-nnunet.txt.
pins: .venv/test.ready .venv-nnunet/ready
	$(BIN)/python envs/pin.py
	.venv-nnunet/bin/python envs/pin.py

clean:
	rm -rf .venv .venv-nnunet .snakemake results/demo

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/demo.ready: requirements.txt .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/test.ready: requirements-dev.txt requirements-cluster.txt requirements.txt .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@ .venv/demo.ready

.venv-nnunet/ready: requirements-nnunet.txt
	$(PYTHON) -m venv .venv-nnunet
	.venv-nnunet/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-nnunet.txt
	touch $@
