"""One page of metrics over several processes."""

from collections.abc import Iterator, Mapping

from prometheus_client import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector, CollectorRegistry


class _Kept(Collector):
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        yield from self._metrics


def merged(pages: Mapping[str, str]) -> bytes:
    """Return the *pages* of metrics, each by the name of its process, as one: every sample says whose it is."""
    metrics: dict[str, Metric] = {}
    for process, page in pages.items():
        for family in text_string_to_metric_families(page):
            metric = metrics.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                metric.samples.append(sample._replace(labels={**sample.labels, "process": process}))
    registry = CollectorRegistry()
    registry.register(_Kept(list(metrics.values())))
    return generate_latest(registry)
