#!/usr/bin/env bash
# Snakemake 9.27.1: a param whose function takes the input never makes a job run again.
#
# Params are among the triggers by which a job runs again (--rerun-triggers, documented), and a param may be
# a function of wildcards and of the input. A checksum of a scan, say, notices what dates do not: a scan
# replaced by an older one. Expected: when the value changes, the job runs again, however it was computed.
# Seen: so it is for a function of wildcards alone; where the function takes the input too, though its value
# is another one, nothing runs, and the old result stays. Nothing warns.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check snakemake==9.27.1

cat > Snakefile <<'SMK'
from pathlib import Path

rule all:
    input: "by_wildcards.txt", "by_input.txt"

rule by_wildcards:
    input: "scan.txt"
    output: "by_wildcards.txt"
    params: content=lambda wildcards: Path("scan.txt").read_text()
    shell: "cp {input} {output}"

rule by_input:
    input: "scan.txt"
    output: "by_input.txt"
    params: content=lambda wildcards, input: Path(input[0]).read_text()
    shell: "cp {input} {output}"
SMK

printf 'first\n' > scan.txt
venv/bin/snakemake --cores 1 --quiet all
printf 'other\n' > scan.txt
touch -d 2020-01-01 scan.txt
venv/bin/snakemake --cores 1 --quiet all

echo "by a function of wildcards: $(cat by_wildcards.txt)"
echo "by a function of the input: $(cat by_input.txt)"
[ "$(cat by_wildcards.txt)" = other ] && [ "$(cat by_input.txt)" = first ]
