"""A catalogue of toy label images, drawn.

    .  background          a, b, c ...  cells 1, 2, 3 ...

``CELLS`` holds single label images by name, ``ODD`` such as only others write, ``PAIRS``
a prediction beside its truth with the counts that follow from the drawing.  None of the
arrays can be written to: a test that wants to change one takes ``.copy()``.
``enlarge`` draws the same picture with k x k pixels for one, for code that needs cells
of a realistic size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anycell.labels import Labels


def draw(text: str) -> Labels:
    """Turn a drawing into labels; rows are lines, empty lines and indents do not count."""
    rows = [line.strip() for line in text.strip().splitlines()]
    numbers = [[max(0, ord(letter) - ord("a") + 1) for letter in row] for row in rows]
    labels = np.array(numbers, dtype=np.int32)
    labels.flags.writeable = False
    return labels


def enlarge(labels: Labels, k: int) -> Labels:
    """Draw every pixel as k x k pixels; the result may be written to."""
    return np.repeat(np.repeat(labels, k, axis=0), k, axis=1)


CELLS: dict[str, Labels] = {
    "empty": draw("""
        ......
        ......
        ......
        ......
    """),
    "one": draw("""
        ......
        ..aa..
        .aaaa.
        ..aa..
        ......
    """),
    "two": draw("""
        .........
        .aa......
        .aaa..b..
        ..aa.bbb.
        ......bb.
        .........
    """),
    "touching": draw("""
        ........
        .aaabbb.
        .aaabbb.
        .cccddd.
        .cccddd.
        ........
    """),
    "nested": draw("""
        .........
        ..aaaaa..
        .aaaaaaa.
        .aaabaaa.
        .aabbbaa.
        .aaabaaa.
        .aaaaaaa.
        ..aaaaa..
        .........
    """),
    "cut by the edge": draw("""
        aa....bb
        aaa..bbb
        .a......
        ...cc...
        ..cccc..
        d..cc...
        dd....e.
        d....eee
    """),
    "thin": draw("""
        ............
        .aaaaaaaaaa.
        ............
        ..b.........
        ..b...c.....
        ..b....c....
        ..b.....c...
        ..b......c..
        ............
    """),
    "C-shape": draw("""
        .........
        ..aaaaaa.
        .aaa..aa.
        .aa......
        .aa......
        .aaa..aa.
        ..aaaaaa.
        .........
    """),
    "spiral": draw("""
        ...........
        .aaaaaaaaa.
        .a.......a.
        .a.aaaaa.a.
        .a.a...a.a.
        .a.a.aaa.a.
        .a.a.....a.
        .a.aaaaaaa.
        .a.........
        .aaaaaaaaa.
        ...........
    """),
    "single pixel": draw("""
        .....
        .....
        ..a..
        .....
        .....
    """),
    "big and small": draw("""
        ..............
        ..aaaaaaaa..b.
        .aaaaaaaaaa...
        .aaaaaaaaaa.c.
        .aaaaaaaaaacc.
        .aaaaaaaaaa...
        .aaaaaaaaaa.d.
        ..aaaaaaaa....
        ..............
    """),
    "full": draw("""
        aaaabbbb
        aaaabbbb
        ccccdddd
        ccccdddd
    """),
}
"""Label images by name: cells 1..n, each in one piece."""


ODD: dict[str, Labels] = {
    "numbers with gaps": draw("""
        .......
        .cc.zz.
        .cc.zz.
        .......
    """),
    "two pieces": draw("""
        .......
        .aa.aa.
        .aa.aa.
        .......
    """),
}
"""Label images as others may write them: reading and judging must cope."""


@dataclass(frozen=True)
class Pair:
    """A prediction beside its truth, and what every cell counted at IoU 0.5 gives."""

    truth: Labels
    prediction: Labels
    tp: int
    fp: int
    fn: int


PAIRS: dict[str, Pair] = {
    "same, numbered otherwise": Pair(
        draw("""
            ......
            .aa.b.
            .aa.b.
            ......
        """),
        draw("""
            ......
            .cc.a.
            .cc.a.
            ......
        """),
        tp=2,
        fp=0,
        fn=0,
    ),
    "merged": Pair(
        draw("""
            ........
            .aaabbb.
            .aaabbb.
            ........
            ..cc....
            ........
        """),
        draw("""
            ........
            .aaaaaa.
            .aaaaaa.
            ........
            ..cc....
            ........
        """),
        tp=2,  # the merged one shares exactly half of itself with a, and with b
        fp=0,
        fn=1,
    ),
    "merged unevenly": Pair(
        draw("""
            .........
            .aaaaabb.
            .aaaaabb.
            .........
        """),
        draw("""
            .........
            .aaaaaaa.
            .aaaaaaa.
            .........
        """),
        tp=1,
        fp=0,
        fn=1,
    ),
    "merged of three": Pair(
        draw("""
            ........
            .aabbcc.
            .aabbcc.
            ........
        """),
        draw("""
            ........
            .aaaaaa.
            .aaaaaa.
            ........
        """),
        tp=0,
        fp=1,
        fn=3,
    ),
    "split": Pair(
        draw("""
            ......
            .aaaa.
            .aaaa.
            ......
        """),
        draw("""
            ......
            .aabb.
            .aabb.
            ......
        """),
        tp=1,  # each half has an IoU of exactly 0.5; only one may have the cell
        fp=1,
        fn=0,
    ),
    "split of three": Pair(
        draw("""
            ........
            .aaaaaa.
            .aaaaaa.
            ........
        """),
        draw("""
            ........
            .aabbcc.
            .aabbcc.
            ........
        """),
        tp=0,
        fp=3,
        fn=1,
    ),
    "shifted by a third": Pair(
        draw("""
            ......
            .aaa..
            .aaa..
            ......
        """),
        draw("""
            ......
            ..aaa.
            ..aaa.
            ......
        """),
        tp=1,  # 4 of 8 pixels
        fp=0,
        fn=0,
    ),
    "shifted by half": Pair(
        draw("""
            ......
            .aa...
            .aa...
            ......
        """),
        draw("""
            ......
            ..aa..
            ..aa..
            ......
        """),
        tp=0,  # 2 of 6 pixels
        fp=1,
        fn=1,
    ),
    "nested, inner one missed": Pair(
        CELLS["nested"],
        draw("""
            .........
            ..aaaaa..
            .aaaaaaa.
            .aaaaaaa.
            .aaaaaaa.
            .aaaaaaa.
            .aaaaaaa.
            ..aaaaa..
            .........
        """),
        tp=1,
        fp=0,
        fn=1,
    ),
    "missed": Pair(CELLS["two"], CELLS["two"] * (CELLS["two"] == 1), tp=1, fp=0, fn=1),
    "extra": Pair(CELLS["two"] * (CELLS["two"] == 2), CELLS["two"], tp=1, fp=1, fn=0),
    "nothing found": Pair(CELLS["touching"], CELLS["touching"] * 0, tp=0, fp=0, fn=4),
    "nothing there": Pair(CELLS["touching"] * 0, CELLS["touching"], tp=0, fp=4, fn=0),
    "both empty": Pair(CELLS["empty"], CELLS["empty"], tp=0, fp=0, fn=0),
}
"""Predictions beside their truths, by what went wrong."""
