"""The points at which a process can be told to die, see ``shared/faults.py``, and who passes them."""

INGRESS = ("ingress.published",)
"""Durable and not yet answered."""

SPOOLING = ("spool.inserted", "spool.published")
"""On the ingress's disk and not yet answered; in the broker and still on the disk."""

WORKER = (
    "delivery.taken",
    "mark.read",
    "mark.remarked",
    "mark.tagged",
    "welcome.sent",
    "delivery.handled",
    "delivery.noted",
    "delivery.settled",
    "quota.granted",
    "token.fetched",
)

REPLACED = ("delivery.replaced",)
"""In a retry tier of the broker and not yet acknowledged: after each mark, since it is looked at once more."""
