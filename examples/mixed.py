"""A network of one's own: more bits where they count, fewer where the weights are many.

python training.py model=examples/mixed.py:Mixed QuantType=4bitsym dataset=Digits
"""

from torch import nn

from BitNetMCU import BitLinear


class Mixed(nn.Sequential):
    """Two bits per weight in the large first layer, then four, then eight."""

    def __init__(self, inputs, classes, config):
        common = {key: config[key] for key in ("maxw_algo", "maxw_quantscale", "WScale")}
        super().__init__(
            BitLinear(inputs, 48, "2bitsym", **common, bias=config["bias"] != "none"),
            nn.ReLU(),
            BitLinear(48, 32, "4bitsym", **common),
            nn.ReLU(),
            BitLinear(32, classes, "8bit", **common),
        )
