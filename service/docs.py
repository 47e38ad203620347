"""`/docs` from files of our own, so that it works without internet, and `/docs/problems`, which lists every code."""

from html import escape
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from core.errors import NotFound
from service.catalogue import CODES

STATIC = Path(__file__).parent / "static"
FILES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "start.js": "text/javascript",
    "LICENSE": "text/plain",
    "NOTICE": "text/plain",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"
)
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<link rel="stylesheet" href="/docs/static/swagger-ui.css"></head>
<body>{body}</body></html>
"""

router = APIRouter(include_in_schema=False)


@router.get("/")
def get_root() -> Response:
    return RedirectResponse("/docs", 307)


@router.get("/docs")
def get_docs() -> Response:
    body = '<div id="swagger-ui"></div><script src="/docs/static/swagger-ui-bundle.js"></script>'
    return _page("Distillation API", body + '<script src="/docs/static/start.js"></script>')


@router.get("/docs/problems")
def get_problems() -> Response:
    rows = "".join(
        f'<h2 id="{escape(code.code)}"><code>{escape(code.code)}</code></h2>'
        f"<p>{escape(code.title)}{f' ({code.status})' if code.status else ''}. {escape(code.hint)}</p>"
        for code in sorted(CODES, key=lambda code: code.code)
    )
    return _page("Problems", f'<main class="swagger-ui"><h1>Problems</h1>{rows}</main>')


@router.get("/docs/static/{name}")
def get_static(name: str) -> Response:
    if name not in FILES:
        raise NotFound(f"no file '{name}'")
    return FileResponse(STATIC / name, media_type=FILES[name], headers={"Cache-Control": "max-age=3600"})


def _page(title: str, body: str) -> Response:
    return HTMLResponse(PAGE.format(title=escape(title), body=body), headers={"Content-Security-Policy": POLICY})
