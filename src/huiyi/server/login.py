"""`/login` and `/logout` of the console: one plain page without scripts, in the browser's language, and the cookie that it gives."""

from collections.abc import Awaitable, Callable
from html import escape
from urllib.parse import parse_qs, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from huiyi.errors import Overloaded
from huiyi.server.sessions import MAX_AGE_S, Sessions

COOKIE = "huiyi_session"
MAX_FORM_BYTES = 4096
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
TEXTS = {
    "en": {
        "title": "huiyi: log in",
        "key": "API key",
        "log in": "Log in",
        "where": "It is the key that huiyi serve was started with, in HUIYI_API_KEY or a key file, or else the one in HUIYI_HOME/api_key.",
        "wrong": "This key is not known here. Look for blanks at its ends and try again.",
        "too many": "Too many wrong keys. Wait a minute and try again.",
    },
    "zh": {
        "title": "会意:登录",
        "key": "API 密钥",
        "log in": "登录",
        "where": "即启动 huiyi serve 时使用的密钥:在 HUIYI_API_KEY 或密钥文件中,否则在 HUIYI_HOME/api_key 中。",
        "wrong": "密钥不正确。请检查首尾有没有空格,然后重试。",
        "too many": "错误次数过多,请等一分钟再试。",
    },
}
PAGE = """<!DOCTYPE html><html lang="{lang}"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="/favicon.svg"><style>
:root {{ color-scheme: light dark; --ink: #1c2430; --paper: #f5f7fa; --card: #fff; --line: #8792a2; --quiet: #566172; --accent: #0b62b8;
  --wrong: #b3261e; }}
@media (prefers-color-scheme: dark) {{ :root {{ --ink: #e6eaf0; --paper: #12161c; --card: #1b212a; --line: #67758a; --quiet: #a3aebd;
  --accent: #1f72c4; --wrong: #ff9a90; }} }}
* {{ box-sizing: border-box; }}
body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1rem; color: var(--ink); background: var(--paper);
  font: 16px/1.5 system-ui, "Noto Sans CJK SC", "Microsoft YaHei", "PingFang SC", sans-serif; }}
main {{ width: min(24rem, 100%); padding: 2rem; background: var(--card); border-radius: 12px; box-shadow: 0 2px 12px #0002; }}
h1 {{ font-size: 1.3rem; margin: 0 0 1.25rem; }} label {{ display: block; font-weight: 600; }}
input, button {{ width: 100%; margin-top: .5rem; padding: .6rem .75rem; font: inherit; border-radius: 8px; border: 1px solid var(--line); }}
button {{ margin-top: 1rem; border: 0; color: #fff; background: var(--accent); font-weight: 600; cursor: pointer; }}
p {{ color: var(--quiet); margin: 1rem 0 0; overflow-wrap: anywhere; }} [role=alert] {{ color: var(--wrong); margin: 0 0 1rem; }}
</style></head><body><main><h1>{title}</h1>{problem}<form method="post" action="/login{after}"><label for="key">{key}</label>
<input id="key" name="key" type="password" autocomplete="current-password" required autofocus>
<button>{button}</button></form><p>{where}</p></main></body></html>"""


def login_routes(sessions: Sessions) -> dict[str, Callable[[Request], Awaitable[Response]]]:
    """By path. A form that is too long never gets here."""

    async def login(request: Request) -> Response:
        if sessions.open or (request.method == "GET" and sessions.scope(request.cookies.get(COOKIE))):
            return RedirectResponse(_after(request), 303)
        if request.method == "GET":
            return _page(request)
        key = parse_qs((await request.body()).decode("utf-8", "replace")).get("key", [""])[0]
        try:
            cookie = sessions.log_in(key, request.client.host if request.client else "")
        except Overloaded as error:
            return _page(request, "too many", 429, {"Retry-After": str(int(error.retry_after_s) + 1)})
        if cookie is None:
            return _page(request, "wrong", 401)
        answer = RedirectResponse(_after(request), 303)
        answer.set_cookie(COOKIE, cookie, MAX_AGE_S, httponly=True, samesite="lax", secure=_over_tls(request))
        return answer

    async def logout(request: Request) -> Response:
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(COOKIE, httponly=True, samesite="lax", secure=_over_tls(request))
        return answer

    return {"/login": login, "/logout": logout}


def login_address(path: str, query: str) -> str:
    """Where somebody goes who is not logged in and wanted to see this."""
    return "/login?" + urlencode({"next": path + (f"?{query}" if query else "")})


def _page(request: Request, problem: str | None = None, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    accepted = request.headers.get("accept-language", "").lower()
    lang = "zh" if accepted.startswith("zh") or ("zh" in accepted and "en" not in accepted) else "en"
    texts = TEXTS[lang]
    body = PAGE.format(
        lang="zh-CN" if lang == "zh" else "en",
        title=texts["title"],
        key=texts["key"],
        button=texts["log in"],
        where=texts["where"],
        problem=f'<p role="alert">{texts[problem]}</p>' if problem else "",
        after=escape("?" + urlencode({"next": _after(request)})),
    )
    return HTMLResponse(body, status, {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"} | (headers or {}))


def _after(request: Request) -> str:
    """A page of this server and of no other, whatever the address says."""
    wanted = request.query_params.get("next", "/")
    harmless = wanted.startswith("/") and not wanted.startswith(("//", "/\\", "/login", "/logout")) and wanted.isprintable()
    return wanted if harmless and "\\" not in wanted else "/"


def _over_tls(request: Request) -> bool:
    return "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))
