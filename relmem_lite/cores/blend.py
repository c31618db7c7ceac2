"""A gate that shares out: so much of the old state, and the rest of the candidate."""

from contextlib import suppress

import torch
from torch import Tensor


def blend(keep_logits: Tensor, candidate: Tensor) -> tuple[Tensor, Tensor]:
    """Return a = sigmoid(keep_logits) and b = (1 - a) candidate, both (B, T, D), with a lean backward."""
    # Without gradients, a function of autograd's costs more than what it computes for one step.
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():
        return _blended(keep_logits, candidate)
    return _Blend.apply(keep_logits, candidate)


def _blended(keep_logits: Tensor, candidate: Tensor) -> tuple[Tensor, Tensor]:
    keep = torch.sigmoid(keep_logits)
    # (1 - a) c as c - a c: one pass over memory instead of two
    return keep, torch.addcmul(candidate, keep, candidate, value=-1)


# Fresh large tensors cost more than the arithmetic: autograd's own backward would fill seven, this one fills two.
class _Blend(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(keep_logits: Tensor, candidate: Tensor) -> tuple[Tensor, Tensor]:
        return _blended(keep_logits, candidate)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output[0], inputs[1])

    @staticmethod
    def backward(ctx, grad_keep: Tensor, grad_write: Tensor) -> tuple[Tensor, Tensor]:
        keep, candidate = ctx.saved_tensors
        # d/d logits = (da - db c) a (1 - a),   d/d c = db (1 - a)
        grad = torch.addcmul(grad_keep, grad_write, candidate, value=-1)
        return _sigmoid_backward(grad, keep), torch.addcmul(grad_write, grad_write, keep, value=-1)


def _sigmoid_backward(grad: Tensor, sigmoid: Tensor) -> Tensor:
    """The gradient of a sigmoid's logits, in the memory of `grad` where that can be."""
    # With gradients on, someone differentiates this very backward, which nothing in place can be part of.
    if not torch.is_grad_enabled():
        with suppress(RuntimeError):  # torch.vmap, which takes many gradients at once, has no rule for it either
            return torch.ops.aten.sigmoid_backward(grad, sigmoid, grad_input=grad)
    return torch.ops.aten.sigmoid_backward(grad, sigmoid)
