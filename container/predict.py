"""Segment every file of a folder, as the NeurIPS 2022 challenge asks of a container.

    python predict.py INPUTS OUTPUTS

The command line of anycell is not loaded: each image starts a process of its own, and
its options are not needed.  Exit codes are those of ``anycell``: 0 all done, 1 some
files failed, 2 nothing could be begun.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from pathlib import Path

from anycell.challenge import find_inputs, predict
from anycell.errors import AnycellError
from anycell.model import default_model
from anycell.runs import make_folder


def main(inputs: Path, outputs: Path) -> int:
    failed = 0
    try:
        files = find_inputs(inputs)
        make_folder(outputs)
        model = default_model()
        for number, file in enumerate(files, start=1):
            try:
                found = predict(file, outputs, model)
            except AnycellError:
                raise
            except Exception:  # noqa: BLE001 - a bug in one image must not cost the others
                traceback.print_exc()
                print(f"[{number}/{len(files)}] {file.name}: failed", file=sys.stderr)
                failed += 1
                continue
            told = f"{found.cells} cells in {found.seconds:.2f} s"
            if found.error is not None:
                told = "failed\n    " + str(found.error).replace("\n", "\n    ")
                failed += 1
            told += "".join(f"\n    {note}" for note in found.notes)
            print(f"[{number}/{len(files)}] {file.name}: {told}", file=sys.stderr, flush=True)
    except AnycellError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if failed:
        print(f"{failed} of {len(files)} files failed", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("inputs", type=Path)
    parser.add_argument("outputs", type=Path)
    asked = parser.parse_args()
    sys.exit(main(asked.inputs, asked.outputs))
