"""What huiyi can do, in one place: the command line, HTTP and the console all call this, and it composes the rest.

A module a job. Each owns the order of its job: everything that can be refused is refused before a model is loaded, and results appear
whole or not at all. Nothing here knows of terminals or HTTP. Results are frozen dataclasses.

The names are listed in `__init__.pyi`; a module is loaded with the first of its names that is used.
"""

from typing import Any

import lazy_loader

__getattr__: Any
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
