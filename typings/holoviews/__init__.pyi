from typing import Any

from holoviews import core as core
from holoviews.core import Dimension as Dimension
from holoviews.core import Layout as Layout
from holoviews.core import Options, ViewableElement
from holoviews.core import Overlay as Overlay

# One type, so that a curve may become an overlay of curves under the same name.
Area = ViewableElement
Bars = ViewableElement
Curve = ViewableElement
ErrorBars = ViewableElement
Image = ViewableElement
Path = ViewableElement
Points = ViewableElement
QuadMesh = ViewableElement
Scatter = ViewableElement
Spread = ViewableElement

class HLine(ViewableElement):
    def __init__(self, y: float) -> None: ...

class VLine(ViewableElement):
    def __init__(self, x: float) -> None: ...

class VSpan(ViewableElement):
    def __init__(self, x1: float, x2: float) -> None: ...

class Text(ViewableElement):
    def __init__(self, x: float, y: float, text: str, *, halign: str = ...) -> None: ...

class opts:
    @staticmethod
    def Curve(**style: object) -> Options: ...
    @staticmethod
    def Image(**style: object) -> Options: ...
    @staticmethod
    def Overlay(**style: object) -> Options: ...
    @staticmethod
    def QuadMesh(**style: object) -> Options: ...
    @staticmethod
    def Scatter(**style: object) -> Options: ...

class extension:
    def __init__(self, *backends: str, inline: bool = ...) -> None: ...

def render(plot: object, backend: str = ...) -> Any: ...
