"""Which pages there are, in the order of the navigation."""

from huiyi.console import classify, data, duplicates, search, server, similarity, topics, train
from huiyi.console.frame import Page

PAGES: tuple[Page, ...] = (search.PAGE, similarity.PAGE, topics.PAGE, classify.PAGE, duplicates.PAGE, data.PAGE, train.PAGE, server.PAGE)
