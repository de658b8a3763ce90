"""Pre- and postprocessing that a spec declares: a closed list of steps, each written once for all servers.

`step` says what a step is; `numbers`, `images` and `classes` hold them; `ops` holds the array operations that they are
written with, here by numpy. Whoever brings another set of these operations (a graph's, say) gets the same steps.
"""

from __future__ import annotations

from .pipeline import STEPS, Pipeline, apply_steps, step_from_json, step_to_json
from .step import Refused, Step, Typed

__all__ = ["STEPS", "Pipeline", "Refused", "Step", "Typed", "apply_steps", "step_from_json", "step_to_json"]
