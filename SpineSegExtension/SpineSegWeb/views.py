"""The four views: three slices and the surfaces in 3D, with what lies over them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer import vtkMRMLSliceNode
from trame.widgets import html
from trame.widgets import vuetify3 as v3
from trame_slicer.app.logic import connect_slice_view_slider_to_state
from trame_slicer.core import LayoutManager, SlicerApp
from trame_slicer.rca_view import register_rca_factories
from trame_slicer.views import (
    Layout,
    LayoutDirection,
    SliceView,
    ThreeDView,
    ViewLayoutDefinition,
    ViewProps,
    ViewType,
)

__all__ = ["LAYOUT", "Views"]

LAYOUT = "spine"
# The patient's sides at the view's left, right, top and bottom, as radiologists look.
SIDES = {
    "Sagittal": ("A", "P", "S", "I"),
    "Coronal": ("R", "L", "S", "I"),
    "Axial": ("R", "L", "A", "P"),
}
COLORS = {"Sagittal": "#EFD64D", "Coronal": "#6DAD4A", "Axial": "#F34A33"}
BACKGROUND_3D = ("#10161f", "#2a3646")
FRAMES_A_SECOND = 25.0
CLICK_PIXELS = 4
"""A mouse that moves less than this between press and release has clicked."""


class Views:
    """Makes the views and shows nodes in them.

    Parameters
    ----------
    server : trame Server
    slicer_app : SlicerApp
    on_click : callable
        Called with the point (RAS mm) that was clicked in a slice.
    """

    def __init__(
        self,
        server: Any,
        slicer_app: SlicerApp,
        on_click: Callable[[tuple[float, float, float]], None],
    ) -> None:
        self._app = slicer_app
        self._on_click = on_click
        self._pressed: tuple[int, int] | None = None
        self._sizes: dict[Any, tuple[int, ...]] = {}
        register_rca_factories(
            slicer_app.view_manager,
            server,
            slice_view_ui_f=self._slice_overlay,
            three_d_view_ui_f=self._threed_overlay,
            # What every installation can encode.
            rca_encoder="jpeg",
            target_fps=FRAMES_A_SECOND,
            interactive_quality=70,
        )
        self.layout = LayoutManager(slicer_app.scene, slicer_app.view_manager, server)
        self.layout.register_layout(LAYOUT, _layout())
        self.layout.set_layout(LAYOUT)

    def show(self, volume_node: Any) -> None:
        """Show a volume in the slices and fit all views to it."""
        self._app.display_manager.show_volume_in_slice_background(volume_node)
        for view in self._app.view_manager.get_slice_views():
            view.reset_view()

    def fit_surfaces(self) -> None:
        """Let the 3D view see all of what is in it."""
        for view in self._app.view_manager.get_threed_views():
            view.fit_view_to_content()
            view.schedule_render()

    def include_surfaces(self) -> None:
        """Let the 3D view see all of what is in it, from where it looks now."""
        for view in self._app.view_manager.get_threed_views():
            view.reset_focal_point()
            view.reset_camera()
            view.schedule_render()

    def go_to(self, point: tuple[float, float, float]) -> None:
        """Bring all slices to a point (RAS mm)."""
        for view in self._app.view_manager.get_slice_views():
            view.get_view_node().JumpSliceByOffsetting(*point)

    def slice_ids(self) -> list[str]:
        """Return the ids of the slices' nodes."""
        return [view.get_view_node_id() for view in self._app.view_manager.get_slice_views()]

    def render(self) -> None:
        """Draw all views anew."""
        for view in self._app.view_manager.get_views():
            view.schedule_render()

    # What lies over the pictures

    def _slice_overlay(self, server: Any, _id: str, view: SliceView) -> None:
        self._watch(view)
        _lighten(view)
        # The tag tells: the view's node has its orientation only later.
        name = view.get_singleton_tag()
        left, right, top, bottom = SIDES[name]
        with html.Div(classes="view-name", style=f"color: {COLORS[name]}"):
            html.Span(name)
        for letter, side in ((left, "left"), (right, "right"), (top, "top"), (bottom, "bottom")):
            html.Div(letter, classes=f"view-side view-side-{side}")
        self._tools(view)
        slider = connect_slice_view_slider_to_state(server, view)
        with html.Div(classes="view-slider"):
            v3.VSlider(
                v_model=(slider.name.value,),
                min=(slider.name.min_value,),
                max=(slider.name.max_value,),
                step=(slider.name.step,),
                hide_details=True,
                density="compact",
                color=COLORS[name],
                thumb_size=(12,),
                track_size=(2,),
                raw_attrs=[f'aria-label="{name} slice"'],
            )

    def _threed_overlay(self, _server: Any, _id: str, view: ThreeDView) -> None:
        _lighten(view)
        view.renderer().SetUseDepthPeeling(False)
        with html.Div(classes="view-name", style="color: #9fb6d1"):
            html.Span("3D")
        html.Div(
            "Segment all, or click a vertebra, to see it here.",
            v_if=("!segments.length",),
            classes="view-hint",
        )
        self._tools(view)

    def _tools(self, view: Any) -> None:
        with (
            html.Div(classes="view-tools"),
            v3.VBtn(
                icon=True,
                size="x-small",
                variant="text",
                color="white",
                click=view.reset_view,
                raw_attrs=['aria-label="Fit the view"'],
            ),
        ):
            v3.VIcon("mdi-fit-to-screen-outline", size=16)
            v3.VTooltip("Fit the view", activator="parent", location="bottom")

    # Clicks

    def _watch(self, view: SliceView) -> None:
        """Tell of clicks in a slice (a drag is none), and fit the view when its size changes."""
        interactor = view.interactor()

        def press(*_: Any) -> None:
            self._pressed = interactor.GetEventPosition()

        def release(*_: Any) -> None:
            pressed, self._pressed = self._pressed, None
            at = interactor.GetEventPosition()
            if pressed and max(abs(a - b) for a, b in zip(at, pressed)) < CLICK_PIXELS:
                self._on_click(_place(view.get_view_node(), at))

        def resized(*_: Any) -> None:
            size = tuple(view.render_window().GetSize())
            if size != self._sizes.get(view):
                self._sizes[view] = size
                view.fit_view_to_content()

        # The page tells the size of a view after the scan is shown in it.
        interactor.AddObserver("WindowResizeEvent", resized, -1.0)
        interactor.AddObserver("LeftButtonPressEvent", press, 100.0)
        interactor.AddObserver("LeftButtonReleaseEvent", release, 100.0)


def _lighten(view: Any) -> None:
    """Draw a view without what costs most where a processor does the drawing."""
    view.render_window().SetMultiSamples(0)


def _place(node: vtkMRMLSliceNode, at: tuple[int, int]) -> tuple[float, float, float]:
    """Return where in the patient (RAS mm) a pixel of a slice is."""
    r, a, s, _ = node.GetXYToRAS().MultiplyPoint((*at, 0.0, 1.0))
    return r, a, s


def _layout() -> Layout:
    """Sagittal and coronal tall, for the spine is; axial and 3D beside them."""
    slices = {
        name: ViewLayoutDefinition.slice_view(name, color=color)  # type: ignore[arg-type]
        for name, color in COLORS.items()
    }
    threed = ViewLayoutDefinition(
        "ThreeD",  # a name that JavaScript takes
        ViewType.THREE_D_VIEW,
        ViewProps(label="3D", background_color=BACKGROUND_3D, box_visible=False),
    )
    right = Layout(LayoutDirection.Vertical, [threed, slices["Axial"]], ["3", "2"])
    return Layout(
        LayoutDirection.Horizontal,
        [slices["Sagittal"], slices["Coronal"], right],
        ["1", "1", "1"],
    )
