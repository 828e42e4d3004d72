"""Files to the app and from it, as plain requests: a scan is too large for the websocket."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path
from typing import Any

from aiohttp import web

__all__ = ["add_routes"]

ROOM = 256 * 2**20
"""Bytes of the disk that an upload leaves free."""
LONGEST_NAME = 120


def add_routes(application: Any, app: Any) -> None:
    """Let an aiohttp application take uploads and give the archive."""

    async def upload(request: web.Request) -> web.Response:
        return await _upload(request, app)

    async def export(request: web.Request) -> web.StreamResponse:
        # Only what was exported last, whatever the address says.
        if app.exported is None or app.exported.name != request.match_info["name"]:
            raise web.HTTPNotFound(text="Export again.")
        name = f'attachment; filename="{app.exported.name}"'
        return web.FileResponse(app.exported, headers={"Content-Disposition": name})

    application.router.add_post("/upload", upload)
    application.router.add_get("/export/{name}", export)


async def _upload(request: web.Request, app: Any) -> web.Response:
    """Take a file under its own name into a folder of its own, and open it."""
    if app.state.busy:
        return web.Response(status=409, text="Wait for the end of what is under way.")
    given = request.query.get("name", "").replace("\\", "/").rpartition("/")[2]
    # Only what is a plain name on every system; its ending tells the format.
    plain = "".join(c if c.isalnum() or c in "._- ()" else "_" for c in given)
    name = plain[-LONGEST_NAME:].lstrip(". ") or "scan"
    folder = Path(app.folder.name)
    free = shutil.disk_usage(folder).free - ROOM
    if (request.content_length or 0) > free:
        return web.Response(status=413, text="The file is larger than the free space of the disk.")
    target = folder / f"upload-{uuid.uuid4().hex[:8]}" / name
    target.parent.mkdir()
    taken = 0
    try:
        with target.open("wb") as file:
            async for chunk in request.content.iter_chunked(2**20):
                taken += len(chunk)
                if taken > free:
                    raise OSError("no room")
                file.write(chunk)
    except (OSError, web.HTTPException):
        shutil.rmtree(target.parent, ignore_errors=True)
        return web.Response(status=413, text="The upload could not be stored. Free some space.")
    app.open_upload(target)
    return web.Response(status=204)
