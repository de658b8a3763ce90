"""Decision trees as flat arrays, one entry a node."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from modelport.convert.onnx_to_tf.value import Array
from modelport.errors import ConversionError


@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    """All trees of an ensemble.

    Attributes:
        features: Column that the node looks at.
        thresholds: What it compares the column with.
        children: Where to go if the comparison does not hold, and if it does, [nodes, 2]; a leaf has itself.
        modes: Index into the comparison modes; -1 at leaves.
        missing: Whether NaN counts as holding.
        roots: Where each tree begins.
        members: For nodes that test for membership in a set: its members, filled up with NaN, [nodes, most].
    """

    features: Array
    thresholds: Array
    children: Array
    modes: Array
    missing: Array
    roots: Array
    members: Array | None = None

    def depth(self, starts: Array) -> int:
        """Return the steps from `starts` to the deepest leaf under them.

        Raises:
            ConversionError: The nodes go round in a circle.
        """
        level, depth = np.unique(starts), 0
        while (self.modes[level] >= 0).any():
            if depth > len(self.modes):
                raise ConversionError("its nodes go round in a circle")
            level, depth = np.unique(self.children[level]), depth + 1
        return depth

    def heights(self) -> Array | None:
        """Return the steps from each node to the deepest leaf under it.

        None where so many nodes have several parents that there are more ways down than nodes.
        """
        order = self.roots.tolist()
        for node in order:  # grows while it is read
            if len(order) > len(self.modes):
                return None
            if self.modes[node] >= 0:
                order += self.children[node].tolist()
        heights = np.zeros(len(self.modes), np.int64)
        for node in reversed(order):
            if self.modes[node] >= 0:
                heights[node] = heights[self.children[node]].max() + 1
        return heights
