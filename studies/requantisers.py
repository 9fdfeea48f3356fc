"""Whether a finer scale than a shift would pay: validation accuracy with four requantisers.

A shift for each sample leaves its largest activation anywhere between half of the range and all of
it. TwoTerms multiplies accumulators by 1, 9/8, 5/4 or 3/2 before the shift, as two shifts do;
Reciprocal by whatever brings the largest to the end of the range, for cores with a multiplier.
These two exist in training only. Writes docs/study-requantisers.csv; goes on where it was stopped.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
if __name__ == "__main__":
    import startup  # noqa: F401  first: errors while the rest loads

import argparse
import os
from dataclasses import replace

import torch

import BitNetMCU
import cli
import study
from train import config

EXAMPLES = """examples:
  python studies/requantisers.py
  python studies/requantisers.py --summary    only the table of means, from the CSV as it is
"""

STUDY = {  # as study.py takes it from a YAML file
    "base": {
        "model": "FCMNIST",
        "validation_samples": 10000,
        "optimizer": "Muon",
        "num_epochs": 24,
        "input_bits": 3,
        "input_rounding": "nearest",
        "shiftnorm_aware": True,
    },
    "grid": {"activation_bits": [4, 5]},
    "variants": [
        {"requantiser": "ShiftNorm"},
        {"requantiser": "ShiftNorm", "shiftnorm_aware": False},
        {"requantiser": "FixedShift"},
        {"requantiser": "TwoTerms"},
        {"requantiser": "Reciprocal"},
    ],
    "seeds": [0, 1, 2, 3, 4],
}
OUT = "docs/study-requantisers.csv"


class Scaled(BitNetMCU.Requantiser):
    """A factor for each sample, by its largest accumulator: `scale_of` that [B, 1], at least 1."""

    def __init__(self, bits):
        super().__init__(bits)
        self.settings = {"bits": bits}

    def scaled(self, positive):
        return positive * self.scale_of(positive.detach().amax(-1, keepdim=True).clamp(min=1))


class ReciprocalReLU(Scaled):
    """The largest becomes the largest activation; nothing is scaled up."""

    def scale_of(self, largest):
        return (self.highest / largest).clamp(max=1)


class TwoTermsReLU(Scaled):
    """The largest of the factors (2^a + 2^b) / 2^c that lets nothing saturate; at most 1."""

    FACTORS = torch.tensor([1, 9 / 8, 5 / 4, 3 / 2])

    def scale_of(self, largest):
        exact = ((self.highest + 0.5) / largest).clamp(max=1)
        power = 2.0 ** (torch.frexp(exact).exponent - 1)  # exact / 2 < power <= exact
        candidates = power * self.FACTORS
        return torch.where(candidates <= exact, candidates, 0).amax(-1, keepdim=True)


EXPERIMENTS = {
    "TwoTerms": lambda aware, bits: TwoTermsReLU(bits),
    "Reciprocal": lambda aware, bits: ReciprocalReLU(bits),
}


def register():
    """Settings and checkpoints of this process may name the experiments."""
    BitNetMCU.REQUANTISERS |= EXPERIMENTS
    BitNetMCU.LAYERS |= {layer.__name__: layer for layer in (TwoTermsReLU, ReciprocalReLU)}
    rule = config.PARAMETERS["requantiser"]
    choice = replace(rule.rule, options=tuple(BitNetMCU.REQUANTISERS))
    config.PARAMETERS["requantiser"] = replace(rule, rule=choice)


def run(settings, folder):
    """The CSV row of a run, in a process of its own."""
    register()
    return study.run(settings, folder, export=False)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--summary", action="store_true", help="train nothing, print the table")
    arguments = parser.parse_args()
    register()
    runs = study.expand(STUDY, Path(__file__).name)
    jobs = 0 if arguments.summary else os.cpu_count()
    return study.complete(runs, OUT, "build/study", jobs, run)


if __name__ == "__main__":
    cli.run(main)
