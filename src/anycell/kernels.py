"""Dynamic kernels: tiny networks that seeds emit, each applied in a window around its seed.

After CondInst (Tian et al. 2020, arXiv 2003.05664): the weights are planes that a network
puts out, the inputs are features that all seeds share and the place relative to the seed.
With s a seed of extent E, p a pixel of its window, c and g the shared features, lengths in
field pixels:

    e          = p + UNIT c(p) - s - UNIT c(s)      where p points, seen from where s does
    unit_k(p)  = bias_k + a_k (p - s) / E + (b_k + STEEP n_k) e / E + w_k g(p)
    logit(p)   = BIAS + bias + w g(p) - sum_k max(0, unit_k(p))

n_k are the four directions, so a kernel of zeros already takes the pixels that point about
where the seed points: BIAS - STEEP |e| / E, |e| along the axes.  The second layer's weights
are -1: their size would only be that of the units.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BIAS",
    "DIRECTIONS",
    "INPUTS",
    "STEEP",
    "UNIT",
    "best_masks",
    "half_windows",
    "mask_logits",
    "offsets",
]

UNIT = 8.0
STEEP, BIAS = 4.0, 3.0
DIRECTIONS = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]], dtype=np.float32)
"""(y, x) of n_k."""
INPUTS = 7
"""Numbers of a unit: bias, (y, x) of a, (y, x) of b, two of w."""
BEYOND, AROUND = 1.2, 2.0
"""A window reaches so many extents from its seed, and so many pixels more."""

Ints = NDArray[np.int64]


def mask_logits(
    kernel: Any, code: Any, extent: Any, shared: Any, places: Any, directions: Any
) -> Any:
    """Apply the kernels of n seeds to P pixels each, in numpy or in torch: n x P.

    Decoders and losses both call this, so that what is learned is what is drawn.

    Parameters
    ----------
    kernel : n x 31: bias, two weights of g, and four units of ``INPUTS`` numbers.
    code : n x 2, c at the seeds.
    extent : n, E of the seeds.
    shared : n x P x 4, c and g.
    places : P x 2, (y, x) from the seed.
    directions : ``DIRECTIONS``, of the same kind as the others.
    """
    size = extent.reshape(-1, 1, 1)
    units = kernel[:, 3:].reshape(-1, len(directions), INPUTS)
    at = (units[:, :, 1:3] / size).swapaxes(1, 2)
    pointed = ((units[:, :, 3:5] + STEEP * directions) / size).swapaxes(1, 2)
    hidden = shared[:, :, :2] @ (UNIT * pointed) + shared[:, :, 2:] @ units[:, :, 5:].swapaxes(1, 2)
    hidden = hidden + places @ (at + pointed)
    hidden = hidden + (units[:, None, :, 0] - UNIT * (code[:, None] @ pointed))
    linear = (shared[:, :, 2:] @ kernel[:, 1:3, None])[:, :, 0] + kernel[:, :1] + BIAS
    return linear - hidden.clip(0).sum(-1)


def half_windows(extent: Any) -> Ints:
    """Pixels from each seed to the end of its window, rounded up to powers of sqrt(2)."""
    wanted = BEYOND * np.asarray(extent, dtype=np.float64) + AROUND
    halves: Ints = np.ceil(2.0 ** (np.ceil(2.0 * np.log2(wanted)) / 2.0)).astype(np.int64)
    return halves


def offsets(half: int, spacing: int = 1) -> Ints:
    """(y, x) from the seed of a window's pixels, or of every second, third ...: P x 2."""
    side = np.arange(-(half // spacing), half // spacing + 1) * spacing
    return np.stack([v.ravel() for v in np.meshgrid(side, side, indexing="ij")], axis=1)


def best_masks(score: NDArray[Any], mask: Ints, place: Ints, overlap: float) -> NDArray[np.bool_]:
    """Which of n masks stay when each, from the best down, suppresses those it overlaps.

    All that no better one rivals are taken in one round, which gives the same as one
    after the other; a mask without pixels never stays.

    Parameters
    ----------
    score : n, the higher the better.
    mask, place : the pixels of the masks, as pairs of mask and flat place; none twice.
    overlap : intersection over union above which the better one suppresses the other.
    """
    from scipy.sparse import csr_array

    count = len(score)
    area = np.bincount(mask, minlength=count)
    rank = np.empty(count, dtype=np.int64)
    rank[np.argsort(score, kind="stable")] = np.arange(count)
    ones = np.ones(len(mask), dtype=np.int32)
    width = int(place.max(initial=0)) + 1
    member = csr_array((ones, (mask, place)), shape=(count, width))
    both = (member @ member.T).tocoo()
    one, other = both.coords
    share = both.data / (area[one] + area[other] - both.data)
    rival = (share > overlap) & (rank[one] > rank[other])
    better, worse = one[rival], other[rival]
    left, kept = area > 0, np.zeros(count, dtype=bool)
    while left.any():
        live = left[better] & left[worse]
        better, worse = better[live], worse[live]
        won = left.copy()
        won[worse] = False
        kept |= won
        left &= ~won
        left[worse[won[better]]] = False
    return kept
