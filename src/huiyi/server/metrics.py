"""What Prometheus may know: requests as they end, and each model's queue, batches and padding as they stand when it asks.

Names begin with `huiyi_`. Labels are routes, statuses and served names: never a text, a key or a path that a client made up.
"""

from collections import Counter as Counted
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from huiyi.serving import Served
from huiyi.workspace import Jobs, OpenCollections

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
LATEST = 4096
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """One registry a server."""

    def __init__(self, models: Sequence[Served]) -> None:
        self._registry = CollectorRegistry()
        self.latest: deque[tuple[float, float]] = deque(maxlen=LATEST)  # of requests to the API: when one ended, and its seconds
        self.requests = Counter("huiyi_requests", "Requests, by route and status.", ["route", "status"], registry=self._registry)
        self.seconds = Histogram("huiyi_request_seconds", "From first byte to last.", ["route"], buckets=SECONDS, registry=self._registry)
        self.in_flight = Gauge("huiyi_requests_in_flight", "Requests that are being answered.", registry=self._registry)
        self.texts = Counter("huiyi_texts", "Texts embedded, cached ones included.", ["model"], registry=self._registry)
        self.tokens = Counter("huiyi_tokens", "Tokens of these texts.", ["model"], registry=self._registry)
        self.records = Counter("huiyi_records", "Records of collections, by what became of them.", ["change"], registry=self._registry)
        self.searches = Counter("huiyi_searches", "Queries to collections.", registry=self._registry)
        self._registry.register(_Queues(models))

    def watch(self, collections: OpenCollections, jobs: Jobs) -> None:
        self._registry.register(_Work(collections, jobs))

    def page(self) -> bytes:
        return generate_latest(self._registry)


class _Work(Collector):
    def __init__(self, collections: OpenCollections, jobs: Jobs) -> None:
        self._collections, self._jobs = collections, jobs

    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily("huiyi_open_collections", "Collections that are open.", len(self._collections))
        counts = Counted((job.kind, job.state) for job in self._jobs.list())
        family = GaugeMetricFamily("huiyi_jobs", "Jobs that are known, by kind and state.", labels=["kind", "state"])
        for labels, count in sorted(counts.items()):
            family.add_metric(labels, count)
        yield family


class _Queues(Collector):
    def __init__(self, models: Sequence[Served]) -> None:
        self._models = models

    def collect(self) -> Iterable[Metric]:
        engines = [model for model in self._models if model.base is None]  # an adapter shares the queue of its base
        yield from _gauges(engines)
        yield from _counters(engines)
        yield from _caches(list(self._models))
        waits = SummaryMetricFamily("huiyi_queue_wait_seconds", "From accepted to begun, a text.", labels=["model"])
        batches = SummaryMetricFamily("huiyi_batch_texts", "Texts in a pass of the engine.", labels=["model"])
        for model in engines:
            stats = model.stats()
            waits.add_metric([model.name], stats.begun, stats.wait_s)
            batches.add_metric([model.name], stats.batches, stats.begun)
        yield waits
        yield batches
        yield from _upstreams(engines)


def _gauges(models: Sequence[Served]) -> Iterator[Metric]:
    for name, help_, attribute in (
        ("huiyi_queue_texts", "Texts that wait for the engine.", "waiting_texts"),
        ("huiyi_queue_tokens", "Tokens that wait for the engine.", "waiting_tokens"),
        ("huiyi_running_texts", "Texts in the engine.", "running_texts"),
        ("huiyi_held_tokens", "Room taken in the queue, in tokens, by what runs and what waits.", "held_tokens"),
        ("huiyi_max_queue_tokens", "Room in the queue, in tokens.", "max_queue_tokens"),
        ("huiyi_oldest_wait_seconds", "How long the oldest text has waited.", "oldest_wait_s"),
    ):
        family = GaugeMetricFamily(name, help_, labels=["model"])
        for model in models:
            family.add_metric([model.name], getattr(model.stats(), attribute))
        yield family


def _counters(models: Sequence[Served]) -> Iterator[Metric]:
    for name, help_, attribute in (
        ("huiyi_engine_texts", "Texts that the engine answered.", "texts"),
        ("huiyi_engine_tokens", "Tokens that the engine computed.", "tokens"),
        ("huiyi_padding_tokens", "Tokens computed for nothing, beside those.", "padding_tokens"),
        ("huiyi_engine_seconds", "Seconds in the engine.", "busy_s"),
        ("huiyi_failed_texts", "Texts that the engine failed on.", "failed"),
        ("huiyi_cancelled_texts", "Texts whose callers left.", "cancelled"),
        ("huiyi_refused", "Requests turned away because others filled the queue.", "refused"),
        ("huiyi_long_steps", "Steps of long texts.", "long_steps"),
    ):
        family = CounterMetricFamily(name, help_, labels=["model"])
        for model in models:
            family.add_metric([model.name], getattr(model.stats(), attribute))
        yield family


def _upstreams(models: Sequence[Served]) -> Iterator[Metric]:
    for kind, name, help_, attribute in (
        (GaugeMetricFamily, "huiyi_upstream_up", "Whether an upstream is asked now.", "up"),
        (GaugeMetricFamily, "huiyi_upstream_requests", "Requests on the way to an upstream.", "requests"),
        (CounterMetricFamily, "huiyi_upstream_texts", "Texts that an upstream answered.", "texts"),
        (CounterMetricFamily, "huiyi_upstream_tokens", "Tokens of these texts.", "tokens"),
        (CounterMetricFamily, "huiyi_upstream_outages", "Times that an upstream was taken out.", "outages"),
    ):
        family = kind(name, help_, labels=["model", "upstream"])
        for model in models:
            for stats in model.upstream_stats():
                family.add_metric([model.name, stats.url], float(getattr(stats, attribute)))
        if family.samples:
            yield family


def _caches(models: Sequence[Served]) -> Iterator[Metric]:
    for kind, name, help_, attribute in (
        (CounterMetricFamily, "huiyi_cache_hits", "Texts answered without computing them.", "hits"),
        (CounterMetricFamily, "huiyi_cache_misses", "Texts that had to be computed.", "misses"),
        (CounterMetricFamily, "huiyi_cache_evictions", "Vectors that made room for others.", "evictions"),
        (GaugeMetricFamily, "huiyi_cache_bytes", "The vector cache on disk.", "bytes"),
    ):
        family = kind(name, help_, labels=["model"])
        for model in models:
            if stats := model.cache_stats():
                family.add_metric([model.name], getattr(stats, attribute))
        yield family
