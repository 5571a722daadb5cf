# make demo: the whole pipeline on the embedded phantoms. make test: all checks and tests.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
CORES ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
BIN := .venv/bin
INSTALL := -m pip install --quiet --disable-pip-version-check

.PHONY: demo demo-nnunet test test-long test-nnunet test-conda test-schedulers test-slurm test-release wheel check viewer reference rulegraph site licences pins clean

demo: .venv/demo.ready
	@$(BIN)/python -m vertseg.core.stale_lock results/demo config/demo.yaml
	$(BIN)/snakemake --cores $(CORES) --configfile config/demo.yaml

# The demo with nnU-Net's three methods, which come with an environment of their own (2 GB).
demo-nnunet: .venv/demo.ready .venv-nnunet/ready
	$(BIN)/snakemake --cores $(CORES) --configfile config/demo.yaml config/demo_nnunet.yaml

test: check
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile \
		--no-loadscope-reorder

# The long tests of the next three targets, side by side.
test-long: .venv/test.ready .venv-nnunet/ready
	$(BIN)/python -m pytest -m "nnunet or conda or scheduler" --numprocesses auto --maxprocesses 4 \
		--dist loadfile

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

# Before a release: the wheel predicts without the repository; every command of the tutorial runs.
test-release: .venv/test.ready
	$(BIN)/python -m pytest -m release

wheel: .venv/test.ready
	rm -rf build/lib build/bdist.* dist
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

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

# The documents as a site, build/site/index.html; a broken link or anchor fails it. With --quiet
# MkDocs neither shows nor counts warnings, and --strict does nothing.
site: .venv-docs/ready
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict

# Every file has a licence (REUSE.toml), and the licence its text (LICENSES/).
licences: .venv-docs/ready
	.venv-docs/bin/reuse lint --quiet || .venv-docs/bin/reuse lint --lines

# Needs Graphviz (apt-get install graphviz).
rulegraph: .venv/demo.ready
	$(BIN)/snakemake --rulegraph dot | dot -Tsvg -o docs/images/rulegraph.svg

# After an edit of a list of requirements: pins of all that it needs, and hashes (requirements*.lock).
pins: .venv/test.ready .venv-docs/ready .venv-nnunet/ready
	$(BIN)/python envs/pin.py
	.venv-docs/bin/python envs/pin.py
	.venv-nnunet/bin/python envs/pin.py
	$(BIN)/python envs/lock.py .venv-docs/bin/uv

clean:
	rm -rf .venv .venv-docs .venv-nnunet .snakemake results/demo

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/demo.ready: requirements.txt .venv/bin/python
	$(BIN)/python $(INSTALL) -r requirements.txt
	touch $@

.venv/test.ready: requirements-dev.txt requirements-cluster.txt requirements.txt .venv/bin/python
	$(BIN)/python $(INSTALL) -r requirements-dev.txt
	touch $@ .venv/demo.ready

.venv-docs/ready: requirements-docs.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python $(INSTALL) -r requirements-docs.txt
	touch $@

.venv-nnunet/ready: requirements-nnunet.txt
	$(PYTHON) -m venv .venv-nnunet
	.venv-nnunet/bin/python $(INSTALL) -r requirements-nnunet.txt
	touch $@
