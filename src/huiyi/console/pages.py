"""Which pages there are, in the order of the navigation."""

from huiyi.console import similarity
from huiyi.console.frame import Page

PAGES: tuple[Page, ...] = (similarity.PAGE,)
