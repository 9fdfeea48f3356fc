"""The settings of a run as a value with types; `config.PARAMETERS` says what each may be.

What they mean stands in `trainingparameters.yaml`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """A field for each parameter, in the order in which files and names of runs have them."""

    model: str  # a name in models.PRESETS, or file.py:Class
    layers: str | list[str]  # all but the last, as "conv 7x7/3 32"; values.AUTO: of `widths`
    widths: list[int]  # of the hidden layers
    QuantType: str | list[str]  # of all layers, or of each
    bias: str
    WScale: str
    NormType: str
    activation: str
    shiftnorm_aware: bool
    activation_bits: int | list[int]  # of all hidden layers, or of each
    requantiser: str
    maxw_algo: str
    maxw_quantscale: float  # mean magnitudes
    maxw_update_until_epoch: int
    dataset: str  # a name in loaders.DATASETS, or a path
    raw_units_per_value: str | float | list[float]  # inputmap.AUTO, of all channels, or of each
    image_size: int  # pixels, both axes
    input_bits: int  # of a pixel
    input_rounding: str
    validation_samples: int
    augmented_copies: int
    rotation: float  # degrees
    shift: float  # fraction of the image
    scale: float
    shear: float  # degrees
    elastic_strength: float  # pixels
    elastic_smoothness: float  # pixels
    prune_keep: str | list[int]  # outputs that stay of each hidden layer, or values.ALL
    prune_epoch: int  # after which the others go; 0: never
    lambda_l1: float  # of the masks' magnitudes, in the loss
    seed: int
    num_epochs: int
    batch_size: int
    lambda_hoyer: float  # of the work that activations cause, in the loss
    optimizer: str
    learning_rate: float
    muon_learning_rate: float
    scheduler: str
    step_size: int  # epochs
    lr_decay: float
    restart_epochs: int
    restart_factor: int
    halve_lr_epoch: int
