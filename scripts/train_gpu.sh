#!/usr/bin/env bash
# Train in stages on a machine with a GPU that is there for minutes only, and has no network.
#
#   scripts/train_gpu.sh pack DATA [DATA ...]   here: everything that is needed into .gpu/
#   scripts/train_gpu.sh setup                  there: unpack what was brought along, simulate
#   scripts/train_gpu.sh stage OUT [SECONDS]    there: setup, and one stage of 500 seconds
#   scripts/train_gpu.sh take OUT               here: the results of a stage back into .gpu/
#
# .gpu/ holds wheels/ (packages beside PyTorch), data.tar (images and labels) and state/ (the
# checkpoint in pieces of at most 15 MiB); each is below 60 MiB and may travel by itself: what
# setup has unpacked into WORK, and simulated on all cores, stays there.  A stage goes on
# training exactly where the last one stopped, prints crops per second, and leaves in OUT the
# pieces of the checkpoint, the learning curve, and the best weights.  Two stages may run at
# once, each with a RUN of its own and half of the WORKERS, after one setup.
#
# Settings: METHOD (votes), STEPS (60000), WITHIN (seconds in which all stages together are to
# finish, the rate having fallen to zero; none: only STEPS count), CROPS (64), RECIPE (more of
# --recipe, as in "rate=0.004 cool_down=0.5"), WEIGHTS (general), WORKERS (cores - 2), DEVICE
# (auto), SIMULATED (images of each modality; 120), SEED (of the simulation; 0), SKIP (a group to
# leave out), SHARE (more of --share, as in "tissue=2 blood=0.5"), RUN (a name; none), STATE (0
# leaves the checkpoint where it is), PYTHON (python3), WORK (/tmp/anycell-stage), GPU_PYTHON
# (3.12: the version there).
set -euo pipefail
cd "$(dirname "$0")/.."

KEEP=.gpu
PIECE=15m
LIMIT_MIB=60
PYTHON=${PYTHON:-python3}
WORK=${WORK:-/tmp/anycell-stage}
FOLDER=$WORK/run${RUN:+-$RUN}
export PYTHONPATH="src:$WORK/site${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1

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
  mkdir -p "$FOLDER/best" "$WORK/data"
  if compgen -G "$KEEP/wheels/*.whl" > /dev/null && [ ! -d "$WORK/site" ]; then
    "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --target "$WORK/site" "$KEEP"/wheels/*.whl
  fi
  if [ -f "$KEEP/data.tar" ] && [ -z "$(ls -A "$WORK/data")" ]; then tar -C "$WORK/data" -xf "$KEEP/data.tar"; fi
  if compgen -G "$KEEP/state/last.pt.*" > /dev/null && [ ! -f "$FOLDER/last.pt" ]; then
    cat "$KEEP"/state/last.pt.* > "$FOLDER/last.pt"
    [ ! -f "$KEEP/state/curves.csv" ] || cp "$KEEP/state/curves.csv" "$FOLDER/"
    [ ! -f "$KEEP/state/about.json" ] || cp "$KEEP"/state/{weights.safetensors,about.json} "$FOLDER/best/"
  fi
  [ -n "$(ls -A "$WORK/data")" ] || { echo "no data in $WORK/data: bring .gpu/data.tar" >&2; exit 2; }
  simulate "$WORK/sim" "${SIMULATED:-120}"
}

stage() {
  local out=${1:?where do the results go? scripts/train_gpu.sh stage OUT} seconds=${2:-500}
  local began=$SECONDS status=0
  mkdir -p "$out"
  setup
  local settings=()
  for setting in ${RECIPE:-rate=0.004 cool_down=0.5}; do settings+=(--recipe "$setting"); done
  for share in ${SHARE:-}; do settings+=(--share "$share"); done
  local left=$((seconds - (SECONDS - began) - 40))
  local cores; cores=$(nproc --all)
  "$PYTHON" -m anycell train "$WORK"/data/* "$WORK/sim" -o "$FOLDER" --method "${METHOD:-votes}" \
    --weights "${WEIGHTS:-general}" --steps "${STEPS:-60000}" --recipe "crops=${CROPS:-64}" \
    "${settings[@]}" --workers "${WORKERS:-$((cores > 2 ? cores - 2 : 1))}" \
    ${SKIP:+--skip "$SKIP"} ${WITHIN:+--within "$WITHIN"} --validate-every "${VALIDATE_EVERY:-2000}" --device "${DEVICE:-auto}" --stop-after "$left" \
    2>&1 | tee "$out/log.txt" || status=$?
  # Whatever happened, what was learned is brought home.
  [ "${STATE:-1}" = 0 ] || split -b "$PIECE" -d "$FOLDER/last.pt" "$out/last.pt."
  for file in "$FOLDER"/curves.* "$FOLDER"/best/{weights.safetensors,about.json}; do
    [ ! -f "$file" ] || cp "$file" "$out/"
  done
  return "$status"
}

simulate() {
  local folder=$1 count=$2
  [ -d "$folder" ] && return
  local names; names=$("$PYTHON" -c 'from anycell.simulate import MODALITIES; print(*MODALITIES)')
  for name in $names; do
    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 "$PYTHON" -m anycell simulate "$folder.parts/$name" --modalities "$name" --count "$count" \
      --seed "${SEED:-0}" --quiet &
    while [ "$(jobs -rp | wc -l)" -ge "$(nproc --all)" ]; do wait -n; done
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
  *) sed -n '2,25s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
