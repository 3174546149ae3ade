"""The one exception tree: every error a person can meet, with its HTTP status, code and a way out.

    HuiyiError (500 internal_error)
    ├── InvalidInput 400        what was given cannot be used
    │   ├── UnsupportedModel    a checkpoint that cannot be read or is of no known family
    │   └── TooLong             a text longer than the model takes
    ├── NotFound 404            no such model, file, column or collection
    ├── Conflict 409            what is there does not fit what is asked
    ├── TooLarge 413            can never fit, however long one waits
    ├── Overloaded 429          others fill the queue now (`retry_after_s`)
    ├── MissingExtra 501        an optional dependency is not installed
    ├── ModelFailed 500         the engine raised, or gave NaN, Inf, zero or too few rows
    └── Unavailable 503         shutting down, or not ready yet

HTTP and the command line are the only two places that translate these; `server/failures` adds what only HTTP can meet (401, 403, 405,
408, 415).
"""


class HuiyiError(Exception):
    """Base of all errors of huiyi. The message is one sentence or two and says what to do next."""

    status = 500
    code = "internal_error"


class InvalidInput(HuiyiError):
    status = 400
    code = "invalid_input"


class UnsupportedModel(InvalidInput):
    code = "unsupported_model"


class TooLong(InvalidInput):
    code = "text_too_long"


class NotFound(HuiyiError):
    status = 404
    code = "not_found"


class Conflict(HuiyiError):
    status = 409
    code = "conflict"


class TooLarge(HuiyiError):
    status = 413
    code = "too_large"


class Overloaded(HuiyiError):
    """`retry_after_s`: seconds after which there is likely to be room."""

    status = 429
    code = "overloaded"

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class MissingExtra(HuiyiError):
    """`extra`: the name in `pip install 'huiyi[extra]'`."""

    status = 501
    code = "missing_extra"

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an optional part: pip install 'huiyi[{extra}]'")
        self.extra = extra


class ModelFailed(HuiyiError):
    code = "model_failed"


class Unavailable(HuiyiError):
    status = 503
    code = "unavailable"
