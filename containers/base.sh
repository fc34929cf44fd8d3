#!/usr/bin/env bash
# Make a stand-in for python:3.11-slim from Debian's packages, where no image registry can be reached.
#   containers/base.sh [TAG]        by default python:3.11-slim
# Needs root, debootstrap and a Docker daemon.  The image trusts this host's certificates: never push it.
# CACHE is where the file system is kept as a tar file, by default ~/.cache/synth-base.
set -euo pipefail
tag=${1:-python:3.11-slim}
suite=bookworm # its Python is 3.11
packages=python3,python3-pip,python3-venv,ca-certificates
cache=${CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/synth-base}
label=synth-components.base
certificates=/etc/ssl/certs/ca-certificates.crt

inputs=$({ echo "$suite $packages 1"; cat "$certificates"; } | sha256sum | cut -c 1-16)
if [[ $(docker image inspect --format "{{index .Config.Labels \"$label\"}}" "$tag" 2>/dev/null) == "$inputs" ]]; then
  exit 0
fi
mkdir -p "$cache"
tar_file=$cache/$suite-$inputs.tar
if [[ ! -s $tar_file ]]; then
  command -v debootstrap >/dev/null \
    || { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends debootstrap
    } >"$cache/apt.log" 2>&1 || { tail -n 5 "$cache/apt.log" >&2; exit 1; }
  # The mirror that this host's own apt uses.
  mirror=$(apt-get indextargets --format '$(REPO_URI) $(COMPONENT)' | awk '$2 == "main" && $1 !~ /security/ && !found++ {print $1}')
  root=$(mktemp -d "$cache/root.XXXXXX")
  trap 'rm -rf --one-file-system "$root"' EXIT
  chmod 755 "$root"
  debootstrap --variant=minbase --include="$packages" "$suite" "$root" $mirror >"$cache/debootstrap.log" 2>&1 \
    || { tail -n 20 "$cache/debootstrap.log" >&2; exit 1; }
  # As the public image: pip may write to the system's Python, and `python` and `pip` are on the path.
  rm -f "$root"/usr/lib/python3*/EXTERNALLY-MANAGED
  ln -sf /usr/bin/python3 "$root/usr/local/bin/python"
  ln -sf /usr/bin/pip3 "$root/usr/local/bin/pip"
  rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/archives/*.deb "$root"/usr/share/{doc,man,locale,info}/*
  install -D -m 644 "$certificates" "$root$certificates"
  tar -C "$root" --numeric-owner --one-file-system -cf "$tar_file.part" . && mv "$tar_file.part" "$tar_file"
fi
docker import \
  --change 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin' \
  --change 'ENV LANG=C.UTF-8' \
  --change "ENV PIP_CERT=$certificates SSL_CERT_FILE=$certificates" \
  --change 'CMD ["python3"]' \
  --change "LABEL $label=$inputs" \
  "$tar_file" "$tag" >/dev/null
