"""The chat page and its files; starlette serves them.

Only known kinds of files are served. Their content is read for each request, so that an edited file appears
at the next reload.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import FileResponse, Response
from starlette.staticfiles import NotModifiedResponse, PathLike
from starlette.staticfiles import StaticFiles as StarletteStaticFiles
from starlette.types import Scope

CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".ts": "text/plain; charset=utf-8",  # types, for readers and editors
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/vnd.microsoft.icon",
    ".woff2": "font/woff2",
    ".webmanifest": "application/manifest+json",
    ".json": "application/json",
}
"""`mimetypes` is not used: it depends on the operating system, and reads files while the loop waits."""

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    # No script can turn text into markup or code, neither ours nor a vendored one.
    "require-trusted-types-for 'script'; trusted-types 'none'"
)

_RESOURCE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}

SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    **_RESOURCE_HEADERS,
}

_SCRIPTS_AND_STYLES = {".js", ".mjs", ".css"}
"""What governs a document has no effect on these, and would be a seventh of the page's bytes."""


class StaticFiles(StarletteStaticFiles):
    """Serves the files of one folder; `/` is its `index.html`."""

    def __init__(self, folder: Path) -> None:
        # In a checkout, the client's files are links to the npm package.
        super().__init__(directory=folder, html=True, follow_symlink=True)

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """Find a file or folder; a file of another kind does not exist."""
        found, status = super().lookup_path(path)
        if status is not None and stat.S_ISREG(status.st_mode) and Path(found).suffix not in CONTENT_TYPES:
            return "", None
        return found, status

    def file_response(
        self, full_path: PathLike, stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """Respond with a file, or that the browser's copy of it is still valid."""
        # Cached by the browser, but revalidated before each use.
        suffix = Path(full_path).suffix
        security = _RESOURCE_HEADERS if suffix in _SCRIPTS_AND_STYLES else SECURITY_HEADERS
        headers = {"Cache-Control": "no-cache", **security}
        media_type = CONTENT_TYPES[suffix]
        response: Response = FileResponse(
            full_path, status_code, headers, media_type=media_type, stat_result=stat_result
        )
        if self.is_not_modified(response.headers, Headers(scope=scope)):
            response = NotModifiedResponse(response.headers)
            response.headers.update(headers)
        return response
