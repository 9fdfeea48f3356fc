"""Learning rate schedules as functions of the epoch, so that a resumed run needs no state."""

import math

from train.settings import Settings


def _cosine(settings: Settings, epoch):
    return (1 + math.cos(math.pi * epoch / settings.num_epochs)) / 2


def _step(settings: Settings, epoch):
    return settings.lr_decay ** (epoch // settings.step_size)


def _warm_restarts(settings: Settings, epoch):
    """Cosine cycles (Loshchilov and Hutter, "SGDR", arXiv 1608.03983)."""
    length = settings.restart_epochs
    while epoch >= length:
        epoch -= length
        length *= settings.restart_factor
    return (1 + math.cos(math.pi * epoch / length)) / 2


SCHEDULES = {"Cosine": _cosine, "StepLR": _step, "CosineWarmRestarts": _warm_restarts}


def factor(settings: Settings, epoch):
    """What the learning rates at the start are multiplied by in `epoch`, counted from 1."""
    halved = 0.5 if 0 < settings.halve_lr_epoch < epoch else 1.0
    return SCHEDULES[settings.scheduler](settings, epoch - 1) * halved
