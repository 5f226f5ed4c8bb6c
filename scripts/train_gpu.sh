#!/usr/bin/env bash
# Train in stages on a machine with a GPU that is there for minutes only, and has no network.
#
#   scripts/train_gpu.sh pack DATA [DATA ...]   here: everything that is needed into .gpu/
#   scripts/train_gpu.sh setup                  there: unpack what was brought along
#   scripts/train_gpu.sh stage OUT [SECONDS]    there: setup, and one stage of 500 seconds
#   scripts/train_gpu.sh take OUT               here: the results of a stage back into .gpu/
#
# .gpu/ holds wheels/ (packages beside PyTorch), data.tar (images and labels) and state/ (the
# checkpoint in pieces of at most 15 MiB); each is below 60 MiB and may travel by itself: what
# setup has unpacked into WORK stays there.  A stage makes simulated images on all cores, goes on
# training exactly where the last one stopped, prints crops per second, and leaves in OUT the
# pieces of the checkpoint, the learning curve, and the best weights.
#
# Settings: METHOD (votes), STEPS (60000), CROPS (64), RECIPE (more of --recipe, as in
# "rate=0.004 cool_down=0.5"), WEIGHTS (general), WORKERS (cores - 2), DEVICE (auto),
# SIMULATED (images of each modality; 120), SKIP (a group to leave out), PYTHON (python3),
# WORK (/tmp/anycell-stage), GPU_PYTHON (3.12: the version there).
set -euo pipefail
cd "$(dirname "$0")/.."

KEEP=.gpu
PIECE=15m
LIMIT_MIB=60
PYTHON=${PYTHON:-python3}
WORK=${WORK:-/tmp/anycell-stage}

pack() {
  [ $# -ge 1 ] || { echo "which data? scripts/train_gpu.sh pack DATA ..." >&2; exit 2; }
  mkdir -p "$KEEP/wheels" "$KEEP/state"
  rm -f "$KEEP/data.tar"
  for data in "$@"; do
    [ -d "$data" ] || { echo "$data is not a folder" >&2; exit 2; }
    tar -C "$(dirname "$data")" -rf "$KEEP/data.tar" --exclude slide "$(basename "$data")"
  done
  # Wheels for the Python there; those that it has already are not replaced.
  "$PYTHON" -m pip download -q --no-deps --only-binary=:all: \
    --python-version "${GPU_PYTHON:-3.12}" --implementation cp \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 \
    --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
    -d "$KEEP/wheels" ${GPU_WHEELS:-imagecodecs zarr numcodecs donfig google-crc32c}
  local part size
  for part in "$KEEP/wheels" "$KEEP/data.tar"; do
    size=$(du -sm "$part" | cut -f1)
    echo "$part: $size MiB"
    [ "$size" -le "$LIMIT_MIB" ] || { echo "more than $LIMIT_MIB MiB: leave data out" >&2; exit 1; }
  done
}

setup() {
  mkdir -p "$WORK/run/best" "$WORK/data"
  if compgen -G "$KEEP/wheels/*.whl" > /dev/null && [ ! -d "$WORK/site" ]; then
    "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --target "$WORK/site" "$KEEP"/wheels/*.whl
  fi
  if [ -f "$KEEP/data.tar" ]; then tar -C "$WORK/data" -xf "$KEEP/data.tar"; fi
  if compgen -G "$KEEP/state/last.pt.*" > /dev/null && [ ! -f "$WORK/run/last.pt" ]; then
    cat "$KEEP"/state/last.pt.* > "$WORK/run/last.pt"
    [ ! -f "$KEEP/state/curves.csv" ] || cp "$KEEP/state/curves.csv" "$WORK/run/"
    [ ! -f "$KEEP/state/about.json" ] || cp "$KEEP"/state/{weights.safetensors,about.json} "$WORK/run/best/"
  fi
}

stage() {
  local out=${1:?where do the results go? scripts/train_gpu.sh stage OUT} seconds=${2:-500}
  local work=$WORK began=$SECONDS
  mkdir -p "$out"
  setup
  [ -n "$(ls -A "$work/data")" ] || { echo "no data in $work/data: bring .gpu/data.tar" >&2; exit 2; }
  export PYTHONPATH="src:$work/site${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
  simulate "$work/sim" "${SIMULATED:-120}"
  local settings=()
  for setting in ${RECIPE:-rate=0.004 cool_down=0.5}; do settings+=(--recipe "$setting"); done
  local left=$((seconds - (SECONDS - began) - 40))
  local cores; cores=$(nproc)
  "$PYTHON" -m anycell train "$work"/data/* "$work/sim" -o "$work/run" --method "${METHOD:-votes}" \
    --weights "${WEIGHTS:-general}" --steps "${STEPS:-60000}" --recipe "crops=${CROPS:-64}" \
    "${settings[@]}" --workers "${WORKERS:-$((cores > 2 ? cores - 2 : 1))}" \
    ${SKIP:+--skip "$SKIP"} --validate-every "${VALIDATE_EVERY:-2000}" --device "${DEVICE:-auto}" --stop-after "$left" \
    2>&1 | tee "$out/log.txt"
  split -b "$PIECE" -d "$work/run/last.pt" "$out/last.pt."
  for file in "$work"/run/curves.* "$work"/run/best/{weights.safetensors,about.json}; do
    [ ! -f "$file" ] || cp "$file" "$out/"
  done
}

simulate() {
  local folder=$1 count=$2
  [ -d "$folder" ] && return
  local names; names=$("$PYTHON" -c 'from anycell.simulate import MODALITIES; print(*MODALITIES)')
  for name in $names; do
    "$PYTHON" -m anycell simulate "$folder.parts/$name" --modalities "$name" --count "$count" --quiet &
    while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n; done
  done
  wait
  "$PYTHON" scripts/join_data.py "$folder" "$folder".parts/*
}

take() {
  local out=${1:?which results? scripts/train_gpu.sh take OUT}
  mkdir -p "$KEEP/state"
  rm -f "$KEEP"/state/last.pt.*
  cp "$out"/last.pt.* "$KEEP/state/"
  for file in "$out"/{curves.csv,weights.safetensors,about.json}; do
    [ ! -f "$file" ] || cp "$file" "$KEEP/state/"
  done
  ls -l "$KEEP/state"
}

case "${1:-}" in
  pack | setup | stage | take) "$@" ;;
  *) sed -n '2,21s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
