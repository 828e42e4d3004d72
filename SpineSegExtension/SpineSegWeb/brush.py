"""Brush and eraser for one vertebra at a time; its neighbours are protected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from trame_slicer.core import SegmentationEditor
from trame_slicer.segmentation import (
    SegmentationEditableAreaMode,
    SegmentationEffectErase,
    SegmentationEffectPaint,
    SegmentationOverwriteMode,
)
from trame_slicer.segmentation.paint_effect_parameters import BrushDiameterMode

__all__ = ["ERASE", "PAINT", "Brush"]

PAINT, ERASE = "paint", "erase"

Stroke = Callable[[tuple[float, float, float], Callable[[], None]], None]
"""Called with a stroke's first point (RAS mm), and with what applies the stroke."""


class _Strokes:
    """Hands each stroke to the brush's owner, who chooses the segment and keeps the history."""

    on_stroke: Stroke | None = None

    def show_in(self, views: Sequence[str]) -> None:
        """Show the brush in these views alone: others would be drawn anew at each move."""
        brush = self._get_paint_parameters()  # type: ignore[attr-defined]
        for node in (brush.brush_model_node, brush.paint_feedback_model_node):
            if node is not None:
                node.GetDisplayNode().SetViewNodeIDs(list(views))

    def paint_glyph_at_world_coordinates(self, polydata: Any, places: Any) -> None:
        if self.on_stroke is None or places.GetNumberOfPoints() == 0:
            return
        apply = super().paint_glyph_at_world_coordinates  # type: ignore[misc]
        self.on_stroke(places.GetPoint(0), lambda: apply(polydata, places))


class _Paint(_Strokes, SegmentationEffectPaint):
    pass


class _Erase(_Strokes, SegmentationEffectErase):
    pass


class Brush:
    """The brush of a segmentation editor.

    Parameters
    ----------
    editor : SegmentationEditor
    on_stroke : callable
        See `Stroke`.
    slices : sequence of str
        Ids of the views that show the brush.
    """

    def __init__(
        self, editor: SegmentationEditor, on_stroke: Stroke, slices: Sequence[str]
    ) -> None:
        self._slices = slices
        self._editor = editor
        self._on_stroke = on_stroke
        self._node: Any = None

    def bind(self, segmentation_node: Any, volume_node: Any) -> None:
        """Paint in a segmentation from now on."""
        if segmentation_node is self._node:
            return
        self._node = segmentation_node
        self._editor.set_active_segmentation(segmentation_node, volume_node)
        self._editor.show_3d(True)  # else it takes the surfaces away
        self._editor.set_overwrite_mode(SegmentationOverwriteMode.ALLOW_OVERLAP)

    def release(self) -> None:
        """Let go of the segmentation, which is about to be removed."""
        self.set_tool("")
        self._node = None

    def set_tool(self, tool: str, diameter_mm: float = 8.0, sphere: bool = True) -> None:
        """Activate `PAINT` or `ERASE`; anything else puts the brush away."""
        kinds = {PAINT: _Paint, ERASE: _Erase}
        if tool not in kinds or self._node is None:
            self._editor.deactivate_effect()
            return
        # Painting never takes a voxel from another vertebra; erasing takes from its own alone.
        self._editor.set_editable_area(
            SegmentationEditableAreaMode.OUTSIDE_ALL_SEGMENTS
            if tool == PAINT
            else SegmentationEditableAreaMode.EVERYWHERE
        )
        effect = self._editor.set_active_effect_type(kinds[tool])
        effect.on_stroke = self._on_stroke
        effect.show_in(self._slices)
        effect.set_brush_diameter(diameter_mm, BrushDiameterMode.Absolute)
        effect.set_use_sphere_brush(sphere)

    def choose(self, segment_id: str) -> None:
        """Let the next strokes change this segment."""
        self._editor.set_active_segment_id(segment_id)
