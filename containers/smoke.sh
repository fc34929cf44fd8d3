#!/usr/bin/env bash
# Train, sample and evaluate on the toy table inside an image: no network, a read-only root, no rights, no user of its own.
#   containers/smoke.sh IMAGE [GENERATOR]
set -euo pipefail
image=$1
generator=${2:-tabular.trees}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

inside() {
  docker run --rm --network none --read-only --tmpfs /tmp --cap-drop ALL --user "$(id -u):$(id -g)" \
    --mount "type=bind,source=$folder,target=/data" --workdir /data "$image" "$@"
}

inside synth --version
inside sh -c 'command -v train && command -v serve'
inside python -c 'from synth_components.toy import toy_table as t; t().tables["table"].to_parquet("real.parquet")'
inside synth split --data real.parquet --train train.parquet --holdout holdout.parquet
inside synth train --data train.parquet --model model --generator "$generator"
inside synth sample --model model --synthetic synthetic.parquet --num-rows 200
inside synth evaluate --train train.parquet --holdout holdout.parquet --synthetic synthetic.parquet \
  --report report.json --page report.html
test -s "$folder/report.html"
