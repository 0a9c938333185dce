"""The functions of torch that compute the same losses: measured for comparison, never as truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lossmith.audit.adapters import TorchAdapter, torch_function

Tensor = Any


def _functional() -> Any:
    import torch

    return torch.nn.functional


def _sigmoid_cross_entropy(x: Tensor, z: Tensor) -> Tensor:
    return _functional().binary_cross_entropy_with_logits(x, z, reduction="none")


def _binary_cross_entropy(p: Tensor, z: Tensor) -> Tensor:
    return _functional().binary_cross_entropy(p, z, reduction="none")


def _softmax_cross_entropy(x: Tensor, t: Tensor) -> Tensor:
    return _functional().cross_entropy(x, t, reduction="none")


def _sparse_softmax_cross_entropy(x: Tensor, y: Tensor) -> Tensor:
    return _functional().cross_entropy(x, y, reduction="none")


def _kl_divergence(q: Tensor, p: Tensor) -> Tensor:
    return _functional().kl_div(q.log(), p, reduction="none").sum(-1)


def _kl_from_log_probabilities(log_q: Tensor, p: Tensor) -> Tensor:
    return _functional().kl_div(log_q, p, reduction="none").sum(-1)


def _kl_log_target(log_q: Tensor, log_p: Tensor) -> Tensor:
    return _functional().kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)


def _mean_squared_error(x: Tensor, y: Tensor) -> Tensor:
    return _functional().mse_loss(x, y, reduction="none")


# Unit -> what torch calls it, and a function of the unit's arguments in their order.
PEERS: Mapping[str, tuple[str, Callable[..., Tensor]]] = {
    "binary_cross_entropy_log_floor": ("binary_cross_entropy", _binary_cross_entropy),
    "kl_divergence": ("kl_div", _kl_divergence),
    "kl_divergence_from_log_probabilities": ("kl_div", _kl_from_log_probabilities),
    "kl_divergence_log_target": ("kl_div, log_target", _kl_log_target),
    "mean_squared_error": ("mse_loss", _mean_squared_error),
    "sigmoid_cross_entropy": ("binary_cross_entropy_with_logits", _sigmoid_cross_entropy),
    "softmax_cross_entropy": ("cross_entropy", _softmax_cross_entropy),
    "sparse_softmax_cross_entropy": ("cross_entropy", _sparse_softmax_cross_entropy),
}


def peer(unit: str) -> TorchAdapter | None:
    """torch's function for a unit, ready to be measured, or None where it has none."""
    found = PEERS.get(unit)
    return torch_function(_without_parameters(found[1]), f"torch {found[0]}") if found else None


def _without_parameters(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda *tensors, **parameters: function(*tensors)
