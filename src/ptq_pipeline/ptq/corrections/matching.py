"""Output matching: the last layer's biases, fitted to what the float model says of the images.

With ``p_i`` the float model's softmax of calibration image i and ``z_i`` the quantized model's
logits, a bias ``d`` per class is added so that the mean divergence is least::

    f(d) = 1/n sum_i KL(p_i || softmax(z_i + d)) + ridge / 2 |d|^2

Labels are not needed. f is convex, and where its gradient is zero each class has the mean
probability that it has in the float model, up to the ridge: what quantization takes from one class
and gives to another in the mean is taken back.

Bias correction (Nagel et al., ICCV 2019, arXiv 1906.04721) restores the mean of each logit instead,
which is no statement on which class wins. A softmax as target is distillation's (Hinton et al.,
2015, arXiv 1503.02531), and fitting the output layer alone on held-out images is vector scaling's
(Guo et al., ICML 2017, arXiv 1706.04599). Their combination in this form is ours.

The change is of biases only: no size, no time. Runtimes round it to the int32 grid of the layer's
accumulator like every other bias, see `ptq_pipeline.ptq.biases`.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ptq_pipeline.ptq.parameters import QuantizationParameters
from ptq_pipeline.ptq.preparation import PreparedModel
from ptq_pipeline.ptq.simulation import executed
from ptq_pipeline.ptq.tracing import trace

# Keeps the fit finite where the images hardly speak of a class.
RIDGE = 1e-4
STEPS = 50
TOLERANCE = 1e-10
IMAGES_AT_A_TIME = 50


def match_outputs(
    prepared: PreparedModel, parameters: QuantizationParameters, images: Tensor
) -> QuantizationParameters:
    """Return parameters with the last layer's biases fitted on float32 images ``(n, C, H, W)``.

    Where the last layer does not return the logits itself, or runs more than once, nothing is
    changed and a note says so.
    """
    last = prepared.layers[-1]
    if last.calls != 1 or trace(prepared.module, images[:1]).layers[-1].name != last.name:
        return _unchanged(parameters, f"layer {last.name!r} runs more than once")
    if not _returns_logits(prepared, images[:1]):
        return _unchanged(parameters, f"the logits are not what layer {last.name!r} returns")
    module = executed(prepared, parameters)
    with torch.no_grad():
        wanted = torch.cat([prepared.module(part) for part in images.split(IMAGES_AT_A_TIME)])
        logits = torch.cat([module(part) for part in images.split(IMAGES_AT_A_TIME)])
    shift = fitted_shift(logits.double(), wanted.double().softmax(1)).cpu().numpy()
    name = f"{last.name}.bias"
    bias = parameters.overrides.get(name)
    if bias is None:
        own = prepared.layer_module(last.name).bias
        bias = own.detach().cpu().numpy() if isinstance(own, Tensor) else 0.0 * shift
    changed = (bias + shift).astype("float32")
    return replace(parameters, overrides={**parameters.overrides, name: changed})


def fitted_shift(logits: Tensor, wanted: Tensor) -> Tensor:
    """Return ``d``, float64 ``(classes,)``, that minimises f by Newton's method with halved steps.

    ``logits`` and the probabilities ``wanted`` are float64 ``(n, classes)``.

    Example:
        >>> wanted = torch.tensor([[0.5, 0.5], [0.9, 0.1]], dtype=torch.float64)
        >>> logits = wanted.log() + torch.tensor([0.3, -0.3], dtype=torch.float64)
        >>> [round(float(each), 3) for each in fitted_shift(logits, wanted)]
        [-0.3, 0.3]
    """
    shift = torch.zeros_like(logits[0])
    value = _divergence(logits, wanted, shift)
    for _ in range(STEPS):
        found = (logits + shift).softmax(1)
        gradient = (found - wanted).mean(0) + RIDGE * shift
        if float(gradient.abs().max()) < TOLERANCE:
            break
        curvature = torch.diag(found.mean(0) + RIDGE) - found.mT @ found / len(found)
        step = torch.linalg.solve(curvature, gradient)
        while float(step.abs().max()) > TOLERANCE:
            tried = _divergence(logits, wanted, shift - step)
            if tried <= value:
                shift, value = shift - step, tried
                break
            step = step / 2
        else:
            break
    return shift


def _divergence(logits: Tensor, wanted: Tensor, shift: Tensor) -> float:
    """Return f up to the entropy of ``wanted``, which no shift changes."""
    fit = -(wanted * (logits + shift).log_softmax(1)).sum(1).mean()
    return float(fit + RIDGE / 2 * shift.square().sum())


def _returns_logits(prepared: PreparedModel, example: Tensor) -> bool:
    found = trace(prepared.module, example)
    call = found.layers[-1]
    return call.output is found.output and call.output_version == call.output._version


def _unchanged(parameters: QuantizationParameters, why: str) -> QuantizationParameters:
    note = f"output_matching: {why}, so its biases are not fitted"
    return replace(parameters, notes=(*parameters.notes, note))
