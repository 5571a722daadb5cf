#!/usr/bin/env bash
# Snakemake 9.27.1: an input marked ancient() hides that another input of the same job has changed.
#
# Rule `second` reads raw.txt, and first.txt as ancient(). raw.txt changes, so both rules are due.
# Expected: both run. Seen: the first call runs `first` alone, ends with status 0 and leaves
# second.txt as it was; only a second call runs `second`.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check snakemake==9.27.1 "packaging<26"

cat > Snakefile <<'END'
rule all:
    input: "second.txt"

rule first:
    input: "raw.txt"
    output: "first.txt"
    shell: "cp {input} {output}"

rule second:
    input: raw="raw.txt", order=ancient("first.txt")
    output: "second.txt"
    shell: "cp {input.raw} {output}"
END

run() { venv/bin/python -m snakemake --cores 1 --quiet all; }
echo old > raw.txt
run
sleep 1.1
echo new > raw.txt
run
after_one_call=$(cat first.txt second.txt | paste -sd' ')
run
after_two_calls=$(cat first.txt second.txt | paste -sd' ')
echo "first.txt and second.txt after one call: $after_one_call; after two: $after_two_calls"
[ "$after_one_call" = "new old" ] && [ "$after_two_calls" = "new new" ]
