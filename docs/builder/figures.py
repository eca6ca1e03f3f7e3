"""Live figures of the gallery that need no internet: one file of BokehJS draws them."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

_HTML = """
.. raw:: html

    <div class="bokeh-figure" id="{id}"></div>
    <script src="{root}_static/bokeh.min.js"></script>
    <script>Bokeh.embed.embed_item({item});</script>

"""


def scraper(block: Any, variables: dict[str, Any], config: Any) -> str:
    """Return the variable ``figure`` of a script, once it is there, as HTML."""
    from bokeh.embed import json_item

    from batteryxr.core.plotting import load_hvplot

    if (figure := variables["example_globals"].pop("figure", None)) is None:
        return ""
    # HoloViews leaves sizes to its frames, at which Bokeh's check wonders.
    logging.getLogger("bokeh.core.validation.check").setLevel(logging.ERROR)
    drawn = load_hvplot().render(figure, backend="bokeh")
    item = json.dumps(json_item(drawn, target=drawn.id)).replace("</", "<\\/")
    page = Path(variables["target_file"]).relative_to(config["src_dir"])
    return _HTML.format(id=drawn.id, item=item, root="../" * (len(page.parts) - 1))
