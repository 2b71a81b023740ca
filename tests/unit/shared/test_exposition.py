"""One page of metrics over several processes."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from shared.web.exposition import merged


def page(count: int) -> str:
    registry = CollectorRegistry()
    Counter("qudao_seen", "How many.", ["kind"], registry=registry).labels('a "b"\n\\c').inc(count)
    Gauge("qudao_now", "Now.", registry=registry).set(count / 3)
    Histogram("qudao_seconds", "How long.", registry=registry, buckets=[0.1, 1]).observe(count)
    return generate_latest(registry).decode()


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, "a sample stands once"
            found[key] = sample.value
    return found


def test_every_sample_of_every_page_says_whose_it_is():
    """Nothing is added up, left out or renamed; each family is declared once."""
    pages = {"1": page(1), "2": page(2), "parent": ""}
    together = merged(pages).decode()
    expected = {
        (name, labels | {("process", process)}): value
        for process, text in pages.items()
        for (name, labels), value in samples(text).items()
    }
    assert samples(together) == expected
    declared = [line for line in together.splitlines() if line.startswith("# TYPE")]
    assert len(declared) == len(set(declared)) == len([x for x in page(1).splitlines() if x.startswith("# TYPE")])
