#!/usr/bin/env bash
# A SLURM of one node on this machine, for tests: cluster.sh up|down FOLDER
#
# Needs root and Debian's packages (installed when missing). FOLDER holds its state and logs; only
# links to its configuration lie in /etc/slurm, where Snakemake's plugin needs it. No cgroups and no
# accounts; the node pretends to more memory and CPUs than the machine has, and to two GPUs.
set -euo pipefail
# munged, slurmctld and slurmd are not on everyone's path
PATH=$PATH:/usr/sbin:/sbin

fail() {
  echo "SLURM cannot be started here: $1" >&2
  exit "${2:-1}"
}

refuse() {
  # Status 77: nothing is broken, this machine is not the right one.
  fail "$1" 77
}

runs() {
  # A process that nobody has waited for is no longer running.
  grep -q '^State:[[:space:]]*[^ZX]' "/proc/$1/status" 2>/dev/null
}

stop() {
  # The process that a file names, if it still runs.
  local pid
  pid=$(cat "$1" 2>/dev/null) || return 0
  kill "$pid" 2>/dev/null || return 0
  for _ in $(seq 50); do
    runs "$pid" || return 0
    sleep 0.1
  done
  kill -KILL "$pid" 2>/dev/null || true
}

down() {
  # Waiting and running jobs first: their processes outlive slurmd.
  if [ "$(readlink /etc/slurm/slurm.conf)" = "$folder/slurm.conf" ]; then
    timeout 20 scancel --user=root 2>/dev/null || true
    for _ in $(seq 50); do
      [ -n "$(timeout 5 squeue --noheader 2>/dev/null)" ] || break
      sleep 0.2
    done
    rm -f /etc/slurm/slurm.conf /etc/slurm/gres.conf
  fi
  stop "$folder/slurmd.pid"
  stop "$folder/slurmctld.pid"
  # Written only where this script started munged.
  stop "$folder/munged.pid"
  rm -f "$folder"/*.pid
  # Without cgroups a cancelled job may leave processes behind.
  grep -lzs '^SLURM_CLUSTER_NAME=vertseg$' /proc/[0-9]*/environ | cut -d/ -f3 |
    xargs -r kill -KILL 2>/dev/null || true
}

install_slurm() {
  command -v apt-get >/dev/null || refuse "SLURM is not installed and there is no apt-get."
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq -o DPkg::Lock::Timeout=300 \
    --no-install-recommends slurm-wlm munge >"$folder/install.log" 2>&1 ||
    fail "apt-get install slurm-wlm munge failed, see $folder/install.log."
}

start_munge() {
  munge --no-input >/dev/null 2>&1 && return
  install -d -o munge -g munge -m 0755 /run/munge
  su -s /bin/sh munge -c "$(command -v munged)" || fail "munged does not start."
  for _ in $(seq 50); do
    munge --no-input >/dev/null 2>&1 && break
    sleep 0.1
  done
  cp /run/munge/munged.pid "$folder/munged.pid"
}

configure() {
  local gpu
  for gpu in gpu0 gpu1; do
    # SLURM counts GPUs by their device files.
    [ -e "$folder/$gpu" ] || mknod "$folder/$gpu" c 1 3 || fail "mknod is not allowed."
  done
  cat >"$folder/gres.conf" <<END
NodeName=$host Name=gpu Type=fake File=$folder/gpu[0-1]
END
  cat >"$folder/slurm.conf" <<END
ClusterName=vertseg
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=batch_sched_delay=0,sched_min_interval=100000
MpiDefault=none
SwitchType=switch/none
# Finished jobs stay visible until the tests have looked at them.
MinJobAge=3600
# Seconds between the end of a job's time and SIGKILL.
KillWait=2
ReturnToService=2
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=8 RealMemory=100000 Gres=gpu:fake:2
PartitionName=cpu Nodes=$host Default=YES MaxTime=7-0 State=UP
PartitionName=gpu Nodes=$host MaxTime=7-0 State=UP
END
  mkdir -p "$folder/state" "$folder/spool" /etc/slurm
  ln -sf "$folder/slurm.conf" "$folder/gres.conf" /etc/slurm/
}

up() {
  [ "$(id -u)" = 0 ] || refuse "it takes root."
  mkdir -p "$folder"
  folder=$(realpath "$folder")
  command -v slurmctld slurmd sbatch munged >/dev/null || install_slurm
  [ ! -e /etc/slurm/slurm.conf ] || refuse "/etc/slurm/slurm.conf is there already."
  trap '[ $? = 0 ] || down' EXIT
  start_munge
  configure
  slurmctld -c
  slurmd -N "$host"
  for _ in $(seq 100); do
    if sinfo --noheader --format=%T 2>/dev/null | grep -q idle; then
      sinfo
      return
    fi
    sleep 0.1
  done
  fail "the node does not come up, see $folder/slurmctld.log and slurmd.log."
}

[ $# = 2 ] || fail "usage: cluster.sh up|down FOLDER"
folder=$(realpath -m "$2")
host=$(hostname -s)
case $1 in
  up | down) "$1" ;;
  *) fail "usage: cluster.sh up|down FOLDER" ;;
esac
