#!/usr/bin/env bash
# Build the images for this machine's Docker daemon; print the name, size and id of each.
#   containers/build.sh [core|torch]...      by default both
# Each is built for two targets, and tagged with the version of the package:
#   synth-components:0.1.0             synth-components:0.1.0-sagemaker
#   synth-components:0.1.0-torch       synth-components:0.1.0-torch-sagemaker
# The packages that both hold, and no code of ours, are tagged synth-components:0.1.0-packages.
# BASE_IMAGE, PIP_* and DOCKER_BUILD_OPTIONS go to `docker build`.  The CPU build of torch is on no default index: name
# one by PIP_EXTRA_INDEX_URL, or a folder of wheels on this machine by WHEELS, which is served to the build over loopback.
# SBOM is a folder for what each image holds, as CycloneDX JSON; by default dist/.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
version=$("$python" -c 'import tomllib; print(tomllib.load(open("pyproject.toml", "rb"))["project"]["version"])')
repository=${REPOSITORY:-synth-components}
sbom=${SBOM:-dist}
# A context of its own: nothing but what the image needs is sent to the daemon.
context=$(mktemp -d)
server=
trap 'rm -rf "$context"; [ -z "$server" ] || kill "$server"' EXIT
cp -R --parents containers/*.lock containers/lean.sh containers/bin "$context"
"$python" -m hatchling build --target wheel --directory "$context/dist" >/dev/null 2>&1

options=(${DOCKER_BUILD_OPTIONS:-}) # a list, split at spaces
for name in BASE_IMAGE PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_FIND_LINKS PIP_TRUSTED_HOST; do
  # A folder of this machine is none of the build's.
  if [[ -n ${!name:-} && ${!name} != /* ]]; then options+=(--build-arg "$name=${!name}"); fi
done
torch=(--build-arg "PACKAGES_IMAGE=$repository:$version-packages")
if [[ -n ${WHEELS:-} ]]; then
  # An address that nothing else has: the build's cache goes by it.  Where it is taken, by another build, any will do.
  for address in 127.83.89.78:8378 127.0.0.1:0; do
    : >"$context/.address"
    "$python" -u -m http.server --bind "${address%:*}" --directory "$WHEELS" "${address#*:}" >"$context/.address" 2>&1 &
    server=$!
    for _ in $(seq 100); do
      if grep -q ' port ' "$context/.address" || ! kill -0 "$server" 2>/dev/null; then break; fi
      sleep 0.1
    done
    if grep -q ' port ' "$context/.address"; then break; fi
    kill "$server" 2>/dev/null || true
    server=
  done
  [[ -n $server ]] || { cat "$context/.address" >&2; exit 1; }
  found=$(sed -n 's/.* port .*(\(http:[^)]*\)).*/\1/p' "$context/.address")
  torch+=(--network=host --build-arg "PIP_FIND_LINKS=$found")
fi
revision=$(git rev-parse --short=12 HEAD 2>/dev/null || true)

# build FILE TARGET TAG OPTION...
build() {
  docker build --build-arg "VERSION=$version" --build-arg "REVISION=$revision" "${options[@]}" "${@:4}" \
    --file "containers/$1.Dockerfile" --target "$2" --tag "$repository:$3" "$context"
}

tags=("$version-sagemaker" "$version")
build core packages "$version-packages"
build core sagemaker "$version-sagemaker"
build core kfp "$version"
if [[ " ${*:-core torch} " == *" torch "* ]]; then
  tags+=("$version-torch-sagemaker" "$version-torch")
  build torch sagemaker "$version-torch-sagemaker" "${torch[@]}"
  build torch kfp "$version-torch" "${torch[@]}"
fi

mkdir -p "$sbom"
for tag in "${tags[@]}"; do
  image=$repository:$tag
  docker run --rm --network none "$image" cat /opt/synth/sbom.cdx.json >"$sbom/${image//[:\/]/-}.cdx.json"
  docker image inspect --format "$image  {{.Size}} bytes  {{.Id}}" "$image"
done
