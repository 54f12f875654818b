"""How far two arrays are from each other, by their sketches alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emojax.training.sketch import LARGEST, ODD, alone, norm


@dataclass(frozen=True)
class Apart:
    distance: float | None  # L2, an estimate; None: not of numbers with a point, or one is not finite
    relative: float | None  # to the norm of the array
    element: tuple[int, ...] | None  # the only one that differs; None: several do
    ulps: float | None  # of that element; else the distance in ulps of the largest number
    odd: tuple[int, int]  # elements that are not finite


def apart(here: np.ndarray, there: np.ndarray, shape: Sequence[int], dtype: str) -> Apart:
    """Args: sketches of both, u32[WORDS]; their shape and type."""
    size, floating = math.prod(shape), "float" in dtype
    coarser = 2.0**16 if dtype == "bfloat16" else 1.0  # ulps are those of float32
    gap = there - here  # modulo 2^32
    odd = int(here[ODD]), int(there[ODD])
    found = alone(gap, size)
    distance = norm(gap) if floating and not any(odd) else None
    own = norm(here)
    element = tuple(int(i) for i in np.unravel_index(found[0], shape)) if found else None
    ulps = found[1] / coarser if found else None
    if ulps is None and distance is not None:
        largest = np.array([max(here[LARGEST], there[LARGEST])], np.uint32).view(np.float32)[0]
        ulps = distance / (float(np.spacing(largest)) * coarser)
    return Apart(distance, distance / own if distance is not None and own else None, element, ulps, odd)
