"""What changes the weights: Adam, and Muon for hidden weights."""

import torch

import BitNetMCU
from train.settings import Settings

MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # of x, x^3, x^5: what a step makes of a singular value
NEWTON_SCHULZ_STEPS = 5
OPTIMIZERS = ("Adam", "Muon")


def orthogonalised(matrix):
    """`matrix` [O, I] with all but its tiniest singular values brought to 0.7 .. 1.2."""
    tall = len(matrix) > matrix.shape[1]
    x = matrix.T if tall else matrix  # the smaller of the two gram matrices
    x = x / (x.norm() + 1e-7)
    a, b, c = NEWTON_SCHULZ
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum whose direction is made orthogonal, so that a step moves all directions alike.

    For weights [O, ...], taken as matrices [O, I], of layers that are not the last; without weight
    decay. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024. Not
    torch.optim.Muon, which rounds to bfloat16 and is not in older versions.
    """

    def __init__(self, parameters, lr):
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for weight in group["params"]:
                state, gradient = self.state[weight], weight.grad
                momentum = state.setdefault("momentum", torch.zeros_like(weight))
                momentum.lerp_(gradient, 1 - MOMENTUM)
                ahead = gradient.lerp(momentum, MOMENTUM).flatten(1)  # Nesterov
                outputs, inputs = ahead.shape
                rate = group["lr"] * max(1, outputs / inputs) ** 0.5
                weight.sub_(rate * orthogonalised(ahead).view_as(weight))


def build(settings: Settings, network: BitNetMCU.Network):
    """The optimizers of all parameters of `network`, a list; each one's `defaults` have its rate.

    With Muon the last layer stays with Adam, as does what is no matrix: biases and norms.
    """
    matrices = [p for p in network.layers[:-1].parameters() if p.ndim > 1]
    if settings.optimizer == "Adam" or not matrices:
        return [torch.optim.Adam(network.parameters(), settings.learning_rate, fused=True)]
    hidden = set(matrices)
    others = [p for p in network.parameters() if p not in hidden]
    return [
        Muon(matrices, settings.muon_learning_rate),
        torch.optim.Adam(others, settings.learning_rate, fused=True),
    ]
