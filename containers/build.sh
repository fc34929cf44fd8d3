#!/usr/bin/env bash
# Build the core image and print its name, size and id.
#   containers/build.sh [TAG]        BASE_IMAGE, PIP_* and DOCKER_BUILD_OPTIONS go to `docker build`
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
version=$("$python" -c 'import tomllib; print(tomllib.load(open("pyproject.toml", "rb"))["project"]["version"])')
tag=${1:-synth-components:$version}
# A context of its own: nothing but what the image needs is sent to the daemon.
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
mkdir "$context/containers"
cp containers/core.lock "$context/containers/"
"$python" -m hatchling build --target wheel --directory "$context/dist" >/dev/null 2>&1
arguments=()
for name in BASE_IMAGE PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_FIND_LINKS PIP_TRUSTED_HOST; do
  if [[ -n ${!name:-} ]]; then arguments+=(--build-arg "$name=${!name}"); fi
done
# shellcheck disable=SC2086  # a list of options
docker build ${DOCKER_BUILD_OPTIONS:-} "${arguments[@]}" --file containers/core.Dockerfile --tag "$tag" "$context"
docker image inspect --format '{{index .RepoTags 0}}  {{.Size}} bytes  {{.Id}}' "$tag"
