"""Every failure as the answer that OpenAI's clients expect: {"error": {message, type, param, code}}, and no stack trace.

The one place of HTTP that translates a `HuiyiError`; what only HTTP can meet is defined here, below that tree. What is not a
HuiyiError is a 500 that says nothing about itself.
"""

import math

import orjson
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response

from huiyi.errors import HuiyiError, InvalidInput, NotFound, Overloaded

TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
RETRY_S = 1


class Unauthorized(HuiyiError):
    status = 401
    code = "invalid_api_key"


class Forbidden(HuiyiError):
    status = 403
    code = "forbidden"


class WrongHost(Forbidden):
    code = "host_not_allowed"


class WrongOrigin(Forbidden):
    code = "origin_not_allowed"


class UnknownRoute(NotFound):
    code = "unknown_route"


class UnknownModel(NotFound):
    code = "model_not_found"


class WrongMethod(HuiyiError):
    """`allow`: the methods that would do."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, allow: str) -> None:
        super().__init__(f"this address takes {allow} only")
        self.allow = allow


class TooSlow(HuiyiError):
    status = 408
    code = "request_timeout"


class NotJson(HuiyiError):
    status = 415
    code = "unsupported_media_type"


class WrongField(InvalidInput):
    """`param`: the field of the request that is meant."""

    def __init__(self, message: str, param: str | None) -> None:
        super().__init__(message)
        self.param = param


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None
    code: str


class ErrorBody(BaseModel):
    """What every status from 400 on comes with."""

    error: ErrorDetail


def response_of(error: Exception) -> Response:
    """The answer to `error`; headers that the status asks for included."""
    error = _as_ours(error)
    type_ = TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
    param = getattr(error, "param", "model" if isinstance(error, UnknownModel) else None)
    body = {"error": {"message": str(error), "type": type_, "param": param, "code": error.code}}
    headers = {}
    if isinstance(error, Overloaded):
        headers["Retry-After"] = str(max(RETRY_S, math.ceil(error.retry_after_s)))
    elif error.status == 503:
        headers["Retry-After"] = str(RETRY_S)
    elif error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    elif isinstance(error, WrongMethod):
        headers["Allow"] = error.allow
    return Response(orjson.dumps(body), error.status, headers, "application/json")


def _as_ours(error: Exception) -> HuiyiError:
    if isinstance(error, HuiyiError):
        return error
    if isinstance(error, RequestValidationError):
        return _first_of(error)
    if isinstance(error, HTTPException) and error.status_code == 404:
        return UnknownRoute("there is no such address here; /docs lists all of them")
    if isinstance(error, HTTPException) and error.status_code == 405:
        return WrongMethod((error.headers or {}).get("Allow", "another method"))
    return HuiyiError("something went wrong in the server, and it is not your request's fault; the server's log has more")


def _first_of(error: RequestValidationError) -> WrongField:
    """pydantic's first finding, without what was sent: error bodies and logs hold no texts."""
    first = error.errors()[0]
    place = [str(part) for part in first["loc"] if part != "body"]
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "this server knows no such field, and ignoring it would give an answer that you did not ask for"
    if not place:
        return WrongField(message if first["type"] != "missing" else "send a JSON object", None)
    return WrongField(f"{'.'.join(place)}: {message}", place[0])
