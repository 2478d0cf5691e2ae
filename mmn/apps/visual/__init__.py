"""Pictures: score maps, timelines, statistics of prediction files, training curves. They need `pip install .[plots]`.

The functions that draw take matplotlib axes, NumPy arrays and seconds; nothing here knows a model. No display is needed.

    with styled_figure(10, 4) as figure:
        upper, lower = figure.subplots(2, 1)
        draw_timeline(upper, duration, moments, scores, truth)
        draw_score_map(lower, scores_of_the_map, cells.mask, duration, "final score", moments, truth)
        save_png(figure, "moments.png")
"""

from mmn.apps.visual.score_map import draw_score_map
from mmn.apps.visual.style import image_of, save_png, styled_figure
from mmn.apps.visual.timeline import draw_timeline

__all__ = ["draw_score_map", "draw_timeline", "image_of", "save_png", "styled_figure"]
