#!/bin/sh
# The entry point of the container: labels for every image in a folder.
#
#   sh predict.sh [INPUTS [OUTPUTS]]
#
# The challenge calls it without arguments and by "sh", so it keeps to what every shell
# knows. The folders may also come from ANYCELL_INPUTS and ANYCELL_OUTPUTS.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
exec "${PYTHON:-python}" "$here/predict.py" \
    "${1:-${ANYCELL_INPUTS:-/workspace/inputs}}" \
    "${2:-${ANYCELL_OUTPUTS:-/workspace/outputs}}"
