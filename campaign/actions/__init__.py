"""What a plan can ask for: one module an action, with all that is known of it.

Its section of the plan, its result, upper bounds of its cost, what gates ask of it, the items its
jobs work on, how its result changes the state, what a projection makes of it (see section.py).
"""

from typing import Literal, get_args

Action = Literal["reference_calc", "sample", "select_data", "train", "model_eval", "prune", "end"]
ACTIONS: tuple[Action, ...] = get_args(Action)
