#!/usr/bin/env bash
# Say whether a Grid Engine job is running, success or failed: status.sh JOB
#
# Snakemake's own marker files do not tell of a job that the queue killed; accounting does.
set -euo pipefail

# Waiting and running jobs, with their state in the fifth column; E marks an error.
state=$(qstat | awk -v job="$1" '$1 == job { print $5 }')
if [ -n "$state" ]; then
  [[ $state == *E* ]] && echo failed || echo running
elif account=$(qacct -j "$1" 2>/dev/null); then
  # The last entry counts: a job that was started again has several.
  awk '$1 == "failed" { failed = $2 } $1 == "exit_status" { status = $2 }
    END { print failed + 0 == 0 && status + 0 == 0 ? "success" : "failed" }' <<<"$account"
else
  # Accounting follows a few seconds later.
  echo running
fi
