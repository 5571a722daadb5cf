#!/usr/bin/env bash
# Submit a job to Grid Engine and print its number: submit.sh JOBSCRIPT
set -euo pipefail

# Your site: edit these lines. Empty values are left out.
project=""
queue=""
gpu_queue=""
# The parallel environment whose slots lie on one machine (`qconf -spl`).
parallel="smp"
# Memory per slot (h_vmem, mem_free, m_mem_free, ...). h_vmem counts what CUDA reserves, too.
memory="h_vmem"
# What the site calls a GPU.
gpu="gpu"

# What the job needs stands in the script as JSON; a group of jobs has no rule.
script=$1
read -r name threads memory_mb runtime_min gpus < <(
  python3 - "$script" <<'END'
import json, sys

with open(sys.argv[1]) as lines:
    properties = next(line for line in lines if line.startswith("# properties = "))
job = json.loads(properties.split(" = ", 1)[1])
needs = [job["resources"][name] for name in ("mem_mb", "runtime", "gpu")]
print(job.get("rule") or job["groupid"], job["threads"], *needs)
END
)

logs=.snakemake/sge_logs
mkdir -p "$logs"

options=(-terse -cwd -V -S /bin/bash -N "$name" -j y -o "$logs")
options+=(-l "h_rt=$((runtime_min * 60))")
# Rounded up.
options+=(-l "$memory=$(((memory_mb + threads - 1) / threads))M")
[ "$threads" = 1 ] || options+=(-pe "$parallel" "$threads")
[ -z "$project" ] || options+=(-P "$project")
if [ "$gpus" != 0 ]; then
  options+=(-l "$gpu=$gpus")
  queue=${gpu_queue:-$queue}
fi
[ -z "$queue" ] || options+=(-q "$queue")
exec qsub "${options[@]}" "$script"
