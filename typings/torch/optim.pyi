from collections.abc import Iterable
from typing import Any

from torch import Tensor

class Adam:
    param_groups: list[dict[str, Any]]
    def __init__(self, params: Iterable[Tensor], lr: float = ...) -> None: ...
    def step(self) -> None: ...
    def zero_grad(self) -> None: ...
