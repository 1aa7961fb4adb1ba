"""Motion of the shoulders against the head: three expressions that every head with named expressions gets.

People push the head forwards and draw it back, to the sides and up and down, without turning it: the whole cervical
spine bends twice. One neck joint cannot do that; without these, collar and shoulders lag behind the head by
centimetres. Heads whose expressions are principal components, such as FLAME's, keep theirs: readers of their parameters
know no others.
"""

from dataclasses import replace

import torch

from raytrack.head.model import HeadModel

SHOULDER_EXPRESSIONS = ("shouldersSide", "shouldersUp", "shouldersForward")
"""Along x, y, z of the root joint."""
SHOULDER_RANGE_M = 0.02
"""Displacement at coefficient 1; −1 is as usual as 1."""


def with_shoulders(head: HeadModel) -> HeadModel:
    """The head with the three expressions; itself where it has them, or where its expressions have no names.

    A vertex moves by the share of the root joint in its skinning: the bust as a whole, the neck in between, the head
    not at all.
    """
    if not head.has_named_expressions or set(SHOULDER_EXPRESSIONS) <= set(head.expression_names):
        return head
    share = head.skin_weights[:, 0]
    motion = SHOULDER_RANGE_M * share[None, :, None] * torch.eye(3).to(share)[:, None, :]
    enabled = torch.ones(3, dtype=torch.bool, device=share.device)
    least = torch.zeros(head.num_expressions).to(share) if head.expression_least is None else head.expression_least
    return replace(
        head,
        expression_basis=torch.cat([head.expression_basis, motion]),
        expression_names=(*head.expression_names, *SHOULDER_EXPRESSIONS),
        expression_enabled=torch.cat([head.expression_enabled, enabled]),
        expression_least=torch.cat([least, -torch.ones(3).to(share)]),
    )
