"""The page: a panel on the left, the views beside it. It only shows the state and names actions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trame.ui.vuetify3 import VAppLayout
from trame.widgets import client, html
from trame.widgets import vuetify3 as v3

__all__ = ["build"]

TOOLS = (
    ("look", "mdi-cursor-default-outline", "Look: a click brings the other slices there"),
    ("click", "mdi-target", "Click a vertebra, and it is segmented"),
    ("paint", "mdi-brush", "Brush: adds to the vertebra under it, and spares its neighbours"),
    ("erase", "mdi-eraser", "Eraser: takes from the vertebra under it"),
)
IDLE = "!busy"
WIDTH = 348


def build(server: Any, views: Any, act: Callable[..., Any], css: str) -> None:
    """Build the page.

    Parameters
    ----------
    server : trame Server
    views : Views
    act : callable
        Gives the handler of an action's name.
    css : str
    """
    with VAppLayout(server, theme="dark", full_height=True) as page:
        client.Style(css)
        download = client.JSEval(exec="utils.spineseg.download($event)")
        server.controller.download = download.exec
        with v3.VNavigationDrawer(permanent=True, width=WIDTH, color="#141b24"):
            _head(act)
            _scan(act)
            _segment(act)
            _correct(act)
            _measure(act)
        with v3.VMain(
            classes="fill-height",
            style="background: #000",
            raw_attrs=["@dragover.prevent", '@drop.prevent="utils.spineseg.drop($event)"'],
        ):
            views.layout.initialize_layout_grid(page)
        _dialogs(act)


def _section(title: str, **more: Any) -> html.Div:
    section = html.Div(classes="panel-section", **more)
    with section:
        html.Div(title, classes="panel-title")
    return section


def _button(text: str, icon: str, click: Any, tip: Any = "", **more: Any) -> None:
    options = {"variant": "tonal", "size": "small", **more}
    with v3.VBtn(click=click, prepend_icon=icon, **options):
        html.Span(text)
        if tip:
            v3.VTooltip(tip, activator="parent", location="bottom", open_delay=400)


def _head(act: Callable[..., Any]) -> None:
    with html.Div(classes="d-flex align-center px-4 py-3", style="gap: 10px"):
        html.Img(src=("trame__favicon",), width=30, height=30, alt="")
        with html.Div(style="flex: 1"):
            html.Div("SpineSeg", style="font-size: 17px; font-weight: 500; line-height: 1.2")
            html.Div(
                "Not a medical device",
                style="font-size: 12px; color: #e6b35a; white-space: nowrap",
                id="not-a-medical-device",
            )
        _button(
            "Export",
            "mdi-download-outline",
            act("export"),
            "Everything as one zip: label map, models (STL, LPS) and tables",
            disabled=("!!busy || !segments.length",),
            id="export",
        )
    v3.VDivider()


def _scan(act: Callable[..., Any]) -> None:
    with _section("Scan"):
        with html.Div(classes="d-flex align-center", style="gap: 8px"):
            with html.Div(style="flex: 1; min-width: 0"):
                html.Div("{{ scan_name || 'No scan' }}", classes="text-truncate", id="scan-name")
                html.Div("{{ scan_info }}", classes="panel-note")
            with v3.VMenu():
                with v3.Template(v_slot_activator="{ props }"):
                    v3.VBtn(
                        "Open",
                        v_bind="props",
                        prepend_icon="mdi-folder-open-outline",
                        size="small",
                        variant="tonal",
                        disabled=("!!busy",),
                        id="open",
                    )
                with v3.VList(density="compact"):
                    v3.VListItem(
                        title="Upload a file …",
                        subtitle="NIfTI, NRRD, MetaImage, or a zipped DICOM folder",
                        click="utils.spineseg.choose()",
                        id="open-upload",
                    )
                    v3.VListItem(
                        title="From this computer …",
                        subtitle="A file or folder, by its path",
                        click="ask_path = true",
                        id="open-path",
                    )
                    v3.VListItem(
                        title="Digital patient",
                        subtitle="Made here, of nobody",
                        click=act("open_patient"),
                        id="open-patient",
                    )
        v3.VProgressLinear(
            v_if=("upload_percent >= 0",), model_value=("upload_percent",), classes="mt-3"
        )
        with v3.VBtnToggle(
            v_model=("shown_as", "bone"),
            density="compact",
            variant="outlined",
            mandatory=True,
            divided=True,
            classes="mt-3",
            style="height: 28px",
        ):
            for value, text in (("bone", "Bone"), ("soft", "Soft tissue"), ("auto", "Auto")):
                v3.VBtn(text, value=value, size="x-small")
        html.Div("{{ note }}", v_for="note in notes", key="note", classes="panel-note mt-2")


def _segment(act: Callable[..., Any]) -> None:
    with _section("Segment"):
        with v3.VBtn(
            block=True,
            color="primary",
            click=act("segment"),
            v_if=(IDLE,),
            disabled=("!scan_name",),
            prepend_icon="mdi-auto-fix",
            id="segment",
        ):
            html.Span("Segment all vertebrae")
        with v3.VBtn(
            block=True,
            color="primary",
            variant="outlined",
            click=act("cancel"),
            v_if=("busy",),
            disabled=("cancelling || !can_cancel",),
            prepend_icon="mdi-stop",
            id="cancel",
        ):
            html.Span("{{ cancelling ? 'Cancelling …' : 'Cancel' }}")
        with html.Div(v_if=("busy",), classes="mt-3"):
            v3.VProgressLinear(
                model_value=("progress",),
                indeterminate=("progress <= 0",),
                color="primary",
                rounded=True,
                height=6,
            )
            html.Div("{{ progress_text }}", classes="panel-note mt-2", id="progress")
        html.Div("{{ summary }}", v_if=(f"{IDLE} && summary",), classes="mt-3", id="summary")
        html.Div(
            "{{ warning }}", v_for="warning in warnings", key="warning", classes="panel-note mt-2"
        )


def _correct(act: Callable[..., Any]) -> None:
    with _section("Correct"):
        with html.Div(classes="d-flex align-center justify-space-between"):
            with v3.VBtnToggle(
                v_model=("tool", "look"),
                mandatory=True,
                density="compact",
                variant="outlined",
                divided=True,
                disabled=("!!busy || !scan_name",),
                id="tools",
            ):
                for value, icon, tip in TOOLS:
                    needs = value in ("paint", "erase")
                    with v3.VBtn(
                        value=value,
                        size="small",
                        id=f"tool-{value}",
                        raw_attrs=[f'aria-label="{tip}"'],
                        disabled=("!segments.length" if needs else "!scan_name",),
                    ):
                        v3.VIcon(icon)
                        v3.VTooltip(tip, activator="parent", location="bottom")
            with html.Div():
                for name, icon in (("undo", "mdi-undo"), ("redo", "mdi-redo")):
                    with v3.VBtn(
                        icon=True,
                        size="small",
                        variant="text",
                        click=act(name),
                        disabled=(f"!!busy || !can_{name}",),
                        id=name,
                        raw_attrs=[f'aria-label="{name.capitalize()}"'],
                    ):
                        v3.VIcon(icon)
                        v3.VTooltip(name.capitalize(), activator="parent", location="bottom")
        with html.Div(v_if=("tool == 'paint' || tool == 'erase'",), classes="mt-2 brush"):
            html.Span("{{ brush_mm }} mm", classes="panel-note", style="width: 44px")
            v3.VSlider(
                v_model=("brush_mm", 8),
                min=(2,),
                max=(30,),
                step=(1,),
                hide_details=True,
                density="compact",
                raw_attrs=['aria-label="Diameter of the brush in millimetres"'],
            )
            v3.VSwitch(
                v_model=("sphere", True),
                label="3D",
                density="compact",
                hide_details=True,
                color="primary",
            )
        html.Div("{{ hint }}", v_if=("hint",), classes="panel-note mt-2")
        with html.Div(classes="vertebrae mt-2", v_if=("segments.length",), id="vertebrae"):
            _vertebra(act)


def _vertebra(act: Callable[..., Any]) -> None:
    with html.Div(
        v_for="one in segments",
        key="one.id",
        classes=("['vertebra', one.id == active ? 'vertebra-active' : '']",),
        click=(act("choose"), "[one.id]"),
    ):
        html.Div(classes="vertebra-dot", style=("{ background: one.color }",))
        html.Span("{{ one.name }}", classes="vertebra-name")
        with html.Span(v_if=("one.id == active",), classes="d-flex"):
            with v3.VMenu(max_height=320):
                with v3.Template(v_slot_activator="{ props }"):
                    v3.VBtn(
                        icon="mdi-tag-outline",
                        v_bind="props",
                        size="x-small",
                        variant="text",
                        disabled=("!!busy",),
                        raw_attrs=['aria-label="Give it another level"'],
                    )
                with v3.VList(density="compact"):
                    v3.VListItem(
                        v_for="level in levels",
                        key="level",
                        title=("level",),
                        click=(act("rename"), "[one.id, level]"),
                    )
            v3.VBtn(
                icon="mdi-delete-outline",
                size="x-small",
                variant="text",
                disabled=("!!busy",),
                click=(act("remove"), "[one.id]"),
                raw_attrs=['aria-label="Remove it"'],
            )
        v3.VBtn(
            icon=("one.visible ? 'mdi-eye-outline' : 'mdi-eye-off-outline'",),
            size="x-small",
            variant="text",
            __events=[("click_stop", "click.stop")],
            click_stop=(act("toggle"), "[one.id]"),
            raw_attrs=['aria-label="Show or hide it"'],
        )


def _measure(act: Callable[..., Any]) -> None:
    with _section("Measure"):
        with html.Div(classes="d-flex align-center", style="gap: 8px"):
            _button(
                "{{ measured.length || stale ? 'Measure again' : 'Measure' }}",
                "mdi-angle-acute",
                act("measure"),
                disabled=("!!busy || !segments.length",),
                id="measure",
                color=("stale ? 'warning' : undefined",),
            )
            _button(
                "Tables",
                "mdi-table",
                "show_tables = true",
                disabled=("!tables.length",),
                id="show-tables",
            )
        html.Div(
            "Edited since; out of date: {{ stale }}.",
            v_if=("stale",),
            classes="panel-note mt-2",
            style="color: #e6b35a",
            id="stale",
        )
        with html.Div(id="measured", style=("{ opacity: stale ? 0.5 : 1 }",)):
            html.Div(
                "{{ text }}", v_for="text in measured", key="text", classes="mt-2 panel-result"
            )
            with html.Details(v_if=("doubts.length",), classes="panel-note mt-2"):
                html.Summary("{{ doubts.length }} remark{{ doubts.length > 1 ? 's' : '' }}")
                html.Div("{{ text }}", v_for="text in doubts", key="text", classes="mt-1")


def _dialogs(act: Callable[..., Any]) -> None:
    with v3.VSnackbar(
        v_model=("message_open", False),
        timeout=(-1,),
        location="bottom right",
        color=("message_kind == 'error' ? '#5d2a2a' : '#24384c'",),
        multi_line=True,
    ):
        html.Span("{{ message }}", id="message")
        with v3.Template(v_slot_actions=True):
            v3.VBtn("Close", variant="text", click="message_open = false")
    with v3.VDialog(v_model=("ask_path", False), max_width=560), v3.VCard():
        v3.VCardTitle("Open a scan of this computer")
        with v3.VCardText():
            v3.VTextField(
                v_model=("path", ""),
                label="Path of a file or a DICOM folder",
                autofocus=True,
                id="path",
                __events=[("keydown_enter", "keydown.enter")],
                keydown_enter=(act("open_path"), "[path]"),
            )
        with v3.VCardActions():
            v3.VSpacer()
            v3.VBtn("Cancel", click="ask_path = false")
            v3.VBtn("Open", color="primary", click=(act("open_path"), "[path]"), id="path-open")
    with v3.VDialog(v_model=("ask_replace", False), max_width=460), v3.VCard():
        v3.VCardTitle("Replace your corrections?")
        v3.VCardText("{{ ask_replace_text }}")
        with v3.VCardActions():
            v3.VSpacer()
            v3.VBtn("Keep them", click="ask_replace = false")
            v3.VBtn("Replace", color="warning", click=act("segment_anyway"), id="replace")
    with v3.VDialog(v_model=("show_tables", False), max_width=900, scrollable=True), v3.VCard():
        with v3.VCardTitle(classes="d-flex align-center"):
            html.Span("Measures")
            v3.VSpacer()
            v3.VBtn(
                icon="mdi-close",
                variant="text",
                size="small",
                click="show_tables = false",
                raw_attrs=['aria-label="Close"'],
            )
        with v3.VCardText(classes="measures-scroll"):
            _tables()


def _tables() -> None:
    with html.Div(v_for="table in tables", key="table.name", classes="mb-6"):
        html.Div(
            "{{ table.name }}{{ table.old ? ' – out of date' : '' }}",
            classes=("['panel-title', table.old ? 'panel-old' : '']",),
        )
        with html.Table(classes="measures"):
            with html.Tr():
                html.Th("{{ title }}", v_for="title in table.titles", key="title")
            with html.Tr(v_for="(row, n) in table.rows", key="n"):
                html.Td("{{ cell }}", v_for="(cell, m) in row", key="m")
