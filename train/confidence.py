"""How sure a network is: the margin between its two best logits.

The margin of a sample is compared with a threshold that keeps 99 % of the right answers among
samples of known class; the C has it as BITNETMCU_MARGIN.
"""

import math

import numpy as np

SOURCES = ("validation", "training")
KEPT = 0.99  # of the right answers
PERCENTILES = (1, 5, 25, 50, 75, 95)


def margins(logits):
    """int64 [N]: the largest of the integer `logits` [N, O], less the second largest."""
    second, first = np.partition(logits.astype(np.int64), -2, axis=1)[:, -2:].T
    return first - second


def measure(logits, labels, source):
    """Margins on samples of known class, as a dict: the threshold, and percentiles of both kinds.

    logits: integers [N, O]; labels: int [N]; source: one of SOURCES. `threshold`
    is the largest integer that no more than 1 % of the right answers lie below.
    """
    found, right = margins(logits), logits.argmax(axis=1) == labels
    groups = {"right": np.sort(found[right]), "wrong": np.sort(found[~right])}
    count = len(groups["right"])
    threshold = int(groups["right"][count - math.ceil(KEPT * count)]) if count else 0
    result = {"source": source, "samples": len(labels), "threshold": threshold}
    for name, values in groups.items():
        percentiles = np.percentile(values, PERCENTILES, method="lower") if len(values) else []
        result[name] = {
            "samples": len(values),
            "percentiles": [int(value) for value in percentiles],
            "below_threshold": int((values < threshold).sum()),
        }
    return result


def checked(measured):
    """`measure`'s result as it comes from a file; `ValueError` or the like if it cannot be one."""
    if measured["source"] not in SOURCES:
        raise ValueError(measured["source"])
    result = {"source": measured["source"]}
    result |= {key: int(measured[key]) for key in ("samples", "threshold")}
    for name in ("right", "wrong"):
        group = measured[name]
        result[name] = {key: int(group[key]) for key in ("samples", "below_threshold")}
        result[name]["percentiles"] = [int(value) for value in group["percentiles"]]
    return result


def lines(measured):
    """`measure`'s result as lines to read."""
    yield (
        f"margin between the two best logits, on {measured['samples']} {measured['source']} "
        f"samples ({', '.join(map(str, PERCENTILES))} % lie below):"
    )
    for name in ("right", "wrong"):
        group = measured[name]
        values = "  ".join(map(str, group["percentiles"])) or "none"
        yield f"  {name} answers ({group['samples']}): {values}"
    wrong = measured["wrong"]
    rejected = f" and rejects {wrong['below_threshold']} of {wrong['samples']} wrong ones"
    yield (
        f"  BITNETMCU_MARGIN {measured['threshold']} keeps {100 * KEPT:.0f} % of the right answers"
        f"{rejected if wrong['samples'] else ''}"
    )
