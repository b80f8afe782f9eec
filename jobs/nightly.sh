#!/usr/bin/env bash
# A night's scores of today's tables: prepare, infer, verify, publish. No Spark is started where one machine can do it.
#
#   jobs/nightly.sh NODES EDGES MODEL FOLDER [DAY] [-- options of the tables, such as --edge-features distance]
#
# FOLDER/scores/DAY holds the scores of a day, FOLDER/latest leads to the newest that `verify` has passed. After a failure
# give the same command again: what is done is not done again. The exit code is that of the step that failed; 3, from
# verify: the scores are wrong, and FOLDER/latest still leads to those of before.
set -euo pipefail

nodes=$1 edges=$2 model=$3 folder=$4
shift 4
day=$(date +%F)
if [ $# -gt 0 ] && [ "$1" != "--" ]; then
  day=$1
  shift
fi
[ "${1:-}" != "--" ] || shift

mkdir -p "$folder/scores"
graphsweep prepare --nodes "$nodes" --edges "$edges" "$@" --output "$folder/graph" \
  --work-dir "$folder/work/graph" --overwrite --if-same skip
graphsweep infer --graph "$folder/graph" --model "$model" --output "$folder/scores/$day" \
  --work-dir "$folder/work/$day" --overwrite --if-same skip
graphsweep verify --graph "$folder/graph" --model "$model" --output "$folder/scores/$day"
ln -sfn "scores/$day" "$folder/latest"
