"""What the ingress counts. Labels are constants and kinds, never ids."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class IngressMetrics:
    """
    The ingress's counters in *registry*.

    Every callback ends in exactly one of ``accepted``, ``ignored``, ``rejected`` and ``failed``.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.accepted = Counter(
            "qudao_callbacks_accepted",
            "Callbacks answered 200, their event durable",
            ["kind"],
            registry=registry,
        )
        self.ignored = Counter(
            "qudao_callbacks_ignored",
            "Callbacks answered 200 whose event nobody handles",
            ["kind"],
            registry=registry,
        )
        self.rejected = Counter(
            "qudao_callbacks_rejected",
            "Callbacks answered 4xx, nothing published",
            ["status", "reason"],
            registry=registry,
        )
        self.refused_in_a_row = Gauge(
            "qudao_callbacks_refused_in_a_row",
            "Callbacks answered 403 since the last one that was WeCom's, by the setting to look at",
            ["setting"],
            registry=registry,
        )
        self.warnings = Counter(
            "qudao_app_warnings",
            "Warnings of WeCom's to the app itself, by the name of their event",
            ["event"],
            registry=registry,
        )
        self.duplicates = Counter(
            "qudao_callbacks_duplicate",
            "Accepted callbacks that were copies of a durable event",
            registry=registry,
        )
        self.failed = Counter(
            "qudao_callbacks_failed",
            "Callbacks answered 503: WeCom has to send them again",
            ["kind"],
            registry=registry,
        )
        self.seconds = Histogram(
            "qudao_callback_seconds",
            "From a callback's headers to its answer",
            buckets=_BUCKETS,
            registry=registry,
        )
        self.publishing = Gauge("qudao_publishing", "Events on their way to the queue", registry=registry)
        self.late = Counter(
            "qudao_publishes_late",
            "Publishes that ended after their callback was answered 503",
            ["outcome"],
            registry=registry,
        )
        self.cut = Counter(
            "qudao_connections_cut",
            "Connections closed by the ingress on which no callback of WeCom's was, by the reason",
            ["reason"],
            registry=registry,
        )
