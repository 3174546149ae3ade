"""Names in requests: letters and digits of any script.

The document gives their lengths alone: to many readers the `\\w` of a pattern is ASCII, and would forbid a Chinese name.
"""

import re
from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, StringConstraints


def _of(pattern: str, what: str) -> Callable[[str], str]:
    whole = re.compile(pattern)

    def check(name: str) -> str:
        if not whole.fullmatch(name):
            raise ValueError(what)
        return name

    return check


Named = Annotated[
    str,
    StringConstraints(min_length=1, max_length=64),
    AfterValidator(_of(r"\w[\w-]*", "a name is of letters, digits, - and _, and does not begin with -")),
]
FileNamed = Annotated[
    str,
    StringConstraints(min_length=1, max_length=128),
    AfterValidator(_of(r"\w[\w.-]*", "a file's name is of letters, digits, -, _ and dots, and begins with neither - nor a dot")),
]
JobId = Annotated[str, StringConstraints(pattern=r"^[0-9]{8}-[0-9]{6}-[0-9a-f]{8}$")]
