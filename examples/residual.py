"""A network of one's own: convolutions, batch norms, pools and a residual.

python training.py dataset=Digits model=examples/residual.py:Residuals requantiser=FixedShift
"""

from torch import nn

from BitNetMCU import BitConv2d, BitLinear, Residual


class Residuals(nn.Sequential):
    def __init__(self, inputs, classes, config):
        kind = config["QuantType"]
        super().__init__(
            BitConv2d(1, 12, 3, kind, padding=1),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.MaxPool2d(2),
            Residual(
                [
                    BitConv2d(12, 12, 3, kind, padding=1, groups=12),  # depthwise
                    nn.BatchNorm2d(12),
                    nn.ReLU(),
                    BitConv2d(12, 12, 1, kind),
                    nn.BatchNorm2d(12),
                ]
            ),
            nn.ReLU(),
            nn.AvgPool2d(4),
            nn.Flatten(),
            BitLinear(4 * 12, classes, kind),
        )
