#!/usr/bin/env bash
# Make sure that a Docker daemon answers, on a machine where none runs.  Needs root; does nothing if one answers.
#   containers/dockerd.sh           start one, if need be
#   containers/dockerd.sh --stop    end the one that this script started
# STATE is its folder, by default /var/lib/synth-dockerd.
set -euo pipefail
state=${STATE:-/var/lib/synth-dockerd}
pid_file=$state/dockerd.pid

if [[ ${1:-} == --stop ]]; then
  if [[ -s $pid_file ]]; then
    pid=$(cat "$pid_file")
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
  fi
  exit 0
fi
# answers: whether a daemon does, or does within a minute where one is about to.
answers() {
  for _ in $(seq 300); do
    if docker info >/dev/null 2>&1; then return 0; fi
    runs dockerd || return 1
    sleep 0.2
  done
  return 1
}

# runs NAME: whether there is a process of that name.
runs() { cat /proc/[0-9]*/comm 2>/dev/null | grep -x "$1" >/dev/null; }

if answers; then exit 0; fi
if runs dockerd; then echo "a Docker daemon runs and does not answer" >&2; exit 1; fi

mkdir -p "$state"
if ! command -v dockerd >/dev/null || ! command -v docker >/dev/null; then
  # The client is a package of its own in newer releases.
  { apt-get update && client=$(apt-cache pkgnames docker-cli | sed -n '/^docker-cli$/p') \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends docker.io iptables $client
  } >"$state/apt.log" 2>&1 || { tail -n 5 "$state/apt.log" >&2; exit 1; }
fi
# What a daemon left that was killed: its number may be another process's by now.
rm -f "$pid_file"
runs containerd || rm -f /var/run/docker/containerd/containerd.pid

# Machines without systemd may have no control groups mounted: version 2 if it has memory, else version 1.
if ! mountpoint -q /sys/fs/cgroup && [[ -z $(ls -A /sys/fs/cgroup) ]]; then
  if ! mount -t cgroup2 cgroup2 /sys/fs/cgroup || ! grep -qw memory /sys/fs/cgroup/cgroup.controllers; then
    umount /sys/fs/cgroup 2>/dev/null || true
    mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
    for controller in $(awk '!/^#/ && $4 == 1 {print $1}' /proc/cgroups); do
      mkdir "/sys/fs/cgroup/$controller"
      mount -t cgroup -o "$controller" cgroup "/sys/fs/cgroup/$controller" || rmdir "/sys/fs/cgroup/$controller"
    done
  fi
fi

# start OPTION...: whether a daemon with these options answers within a minute; one that does not is ended.
start() {
  setsid nohup dockerd --pidfile "$pid_file" "$@" >"$state/dockerd.log" 2>&1 </dev/null &
  local pid=$!
  for _ in $(seq 300); do
    if docker info >/dev/null 2>&1; then return 0; fi
    kill -0 "$pid" 2>/dev/null || return 1
    sleep 0.2
  done
  kill "$pid" 2>/dev/null || true
  wait "$pid" || true
  return 1
}

# Some kernels have neither iptables nor overlay file systems.  No other daemon runs, so doing without a bridge harms none.
start || start --bridge none --iptables=false || start --bridge none --iptables=false --storage-driver vfs || {
  tail -n 15 "$state/dockerd.log" >&2
  exit 1
}
