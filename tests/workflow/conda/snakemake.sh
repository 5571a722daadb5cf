#!/usr/bin/env bash
# Run Snakemake with --use-conda on a machine that has no conda and reaches no channel:
#
#   tests/workflow/conda/snakemake.sh --cores 2 --configfile config/demo.yaml
#
# Snakemake lives in a virtual environment of its own with nothing else in it, so that a package
# missing from a step's environment is missed (Snakemake lends its own packages to scripts). That,
# the channel and the steps' environments are kept in $CONDA_HOME (build/conda).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
export CONDA_HOME=${CONDA_HOME:-$root/build/conda}
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV
host=$CONDA_HOME/host/bin/python

if [[ ! -e $CONDA_HOME/ready || $here/requirements.txt -nt $CONDA_HOME/ready ]]; then
    rm -rf "$CONDA_HOME"
    mkdir -p "$CONDA_HOME"
    base=$("${PYTHON:-python3.11}" -c 'import sys; print(f"{sys.base_prefix}/bin/python3.11")')
    "$base" -m venv "$CONDA_HOME/host"
    "$host" -m pip install --quiet --disable-pip-version-check \
        --constraint <(sed 's/\[.*\]//' "$root/requirements.txt") snakemake \
        --requirement "$here/requirements.txt"
    "$host" "$here/channel.py" "$CONDA_HOME/channels/conda-forge"
    touch "$CONDA_HOME/ready"
fi

export CONDA_CHANNEL_ALIAS=file://$CONDA_HOME/channels
export PATH=$here/bin:/usr/local/bin:/usr/bin:/bin
exec "$host" -m snakemake --use-conda --conda-prefix "$CONDA_HOME/environments" "$@"
