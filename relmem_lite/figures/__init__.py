"""The book's figures: curves, maps, tables and the cover, in one visual language. Needs matplotlib."""

from relmem_lite.figures.cover import cover
from relmem_lite.figures.explore import Explorer, explore
from relmem_lite.figures.lines import band, direct_labels, learning_curves, missing, reference_line
from relmem_lite.figures.maps import attention_map, attention_over_time, heat_map, signed_map
from relmem_lite.figures.style import (
    CORE_STYLES,
    DIVERGING,
    GREY,
    SEQUENTIAL,
    WIDTH,
    CoreStyle,
    contrast,
    figure,
    readable,
    set_title,
    style_of,
    use_style,
)
from relmem_lite.figures.table import spread, table

__all__ = [
    "CORE_STYLES",
    "DIVERGING",
    "GREY",
    "SEQUENTIAL",
    "WIDTH",
    "CoreStyle",
    "Explorer",
    "attention_map",
    "attention_over_time",
    "band",
    "contrast",
    "cover",
    "direct_labels",
    "explore",
    "figure",
    "heat_map",
    "learning_curves",
    "missing",
    "readable",
    "reference_line",
    "set_title",
    "signed_map",
    "spread",
    "style_of",
    "table",
    "use_style",
]
