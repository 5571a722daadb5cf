#!/bin/sh
# Run the workflow in the current folder, a volume: run.sh SNAKEMAKE-OPTIONS
#
# A container that was killed leaves a lock behind; the one that follows goes on. So no two
# containers may share a folder.
set -eu
cp -a "$(dirname "$(realpath "$0")")"/../. .
snakemake --unlock "$@" >/dev/null 2>&1 || true
exec snakemake "$@"
