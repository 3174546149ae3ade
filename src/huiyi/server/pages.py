"""`/docs`: the API's documentation, drawn by Swagger UI out of files that the package fastapi-offline brings, without internet.

And `/` where there is no console: what is here, and how to get one.
"""

from importlib.resources import files

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from huiyi.server.failures import UnknownRoute

ASSETS = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "favicon.png": "image/png",
}
POLICY = "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
WELCOME = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>huiyi</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem }</style></head><body><h1>huiyi</h1>
<p>The API is here: <a href="docs">its documentation</a>. The console in the browser is not: it was left out with --no-console, or its
packages are missing. <code>pip install 'huiyi[console]'</code> brings them; then start the server again.</p>
<p lang="zh-CN">API 在此处:<a href="docs">接口文档</a>。网页控制台没有启动:启动时用了 --no-console,或者还没有安装。先运行
<code>pip install 'huiyi[console]'</code>,再重新启动服务。</p></body></html>"""
PATHS = frozenset({"/", "/docs", "/openapi.json", *(f"/docs/{name}" for name in ASSETS)})


def add_pages(app: FastAPI, welcome: bool = True) -> None:
    """welcome: with the page at `/`."""

    async def docs(request: Request) -> HTMLResponse:
        page = get_swagger_ui_html(
            openapi_url="openapi.json",
            title=app.title,
            swagger_js_url="docs/swagger-ui-bundle.js",
            swagger_css_url="docs/swagger-ui.css",
            swagger_favicon_url="docs/favicon.png",
            swagger_ui_parameters={"validatorUrl": None},
        )
        page.headers["Content-Security-Policy"] = POLICY
        return page

    async def asset(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in ASSETS:
            raise UnknownRoute("there is no such file here")
        return Response(files("fastapi_offline").joinpath("static", name).read_bytes(), media_type=ASSETS[name])

    async def front_door(request: Request) -> HTMLResponse:
        return HTMLResponse(WELCOME, headers={"Content-Security-Policy": POLICY})

    if welcome:
        app.add_route("/", front_door, include_in_schema=False)
    app.add_route("/docs", docs, include_in_schema=False)
    app.add_route("/docs/{name}", asset, include_in_schema=False)
