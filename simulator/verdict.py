"""What an outside judge needs: the truth about every relation, the counters, and the rules that were broken."""

from itertools import pairwise
from typing import Any

from simulator.corp import Follow, RemarkWrite, Writer
from simulator.customers import shown_remark
from simulator.journal import Kind
from simulator.scenario import Scenario


def truth(scenario: Scenario, relation: Follow) -> dict[str, Any]:
    """
    Return what is true of *relation*, as plain data.

    ``state`` is what the APIs show, ``way_state`` that of the code scanned; ``added_at`` when it was scanned,
    ``marked_at`` when an API first wrote the remark, ``readable_at`` until when the APIs did not know the relation.
    """
    userid, external_userid = relation.key
    return {
        "userid": userid,
        "external_userid": external_userid,
        "name": relation.customer.name,
        "status": relation.status.value,
        "state": relation.state,
        "way_state": relation.way_state,
        "config_id": relation.way,
        "remark": shown_remark(scenario, relation),
        "remark_history": [{"at": w.at, "by": w.by.value, "remark": w.remark} for w in relation.remarks],
        "description": relation.description,
        "tags": sorted(relation.tags),
        "tag_names": [_tag_name(scenario, tag_id) for tag_id in sorted(relation.tags)],
        "added_at": relation.added_at,
        "createtime": relation.createtime,
        "readable_at": relation.readable_at,
        "marked_at": relation.marked_at,
        "tagged_at": relation.tagged_at,
        "welcome_code_given": relation.welcome_code_given,
        "welcomed_at": relation.welcomes[0] if relation.welcomes else None,
        "welcomes": len(relation.welcomes),
        "events": relation.events,
    }


def _tag_name(scenario: Scenario, tag_id: str) -> str:
    found = scenario.corp.tag(tag_id)
    return f"{found[0].name}/{found[1].name}" if found else ""


def summary(scenario: Scenario) -> dict[str, Any]:
    """Return the counters since the start."""
    corp, journal = scenario.corp, scenario.journal
    return {
        "now": scenario.clock.time(),
        "customers": len(corp.customers),
        "relations": sum(1 for _ in corp.relations()),
        "contact_ways": len(corp.ways),
        "events": scenario.emitted,
        "events_pending": len(scenario.outbox),
        "events_dropped": scenario.dropped,
        "lost_events": {str(app.agent_id): app.lost_events for app in corp.apps.values()},
        "callbacks": dict(scenario.callback_outcomes),
        "errcodes": {name: {str(code): n for code, n in codes.items()} for name, codes in journal.codes.items()},
        "fullest_minute": scenario.limits.fullest("minute"),
        "fullest_hour": scenario.limits.fullest("hour"),
        "most_in_flight": dict(scenario.limits.most_in_flight),
        "journal_entries": len(journal),
        "journal_forgotten": journal.forgotten,
        "faults": [{"fault": r.fault.value, "endpoint": r.endpoint, "hits": r.hits} for r in scenario.faults.rules],
    }


def broken_rules(scenario: Scenario) -> dict[str, Any]:
    """
    Return what a good client never does.

    Remarks written more than once by API, remarks that a person had written and an API overwrote, welcomes sent twice,
    calls refused for frequency or concurrency, and events that got lost.
    """
    relations = list(scenario.corp.relations())
    codes = scenario.journal.codes
    return {
        "remarks_written_twice": [list(r.key) for r in relations if _api_writes(r.remarks) > 1],
        "staff_remarks_overwritten": [list(r.key) for r in relations if _overwritten(r.remarks)],
        "welcomed_twice": [list(r.key) for r in relations if len(r.welcomes) > 1],
        "refused": {
            name: {str(code): counted[code] for code in (45009, 45033, 45035) if counted[code]}
            for name, counted in codes.items()
            if any(counted[code] for code in (45009, 45033, 45035))
        },
        "lost_events": sum(app.lost_events for app in scenario.corp.apps.values()),
        "most_calls_in_a_minute": scenario.journal.most_in_window(scenario.config.minute_window),
        "most_calls_in_flight": scenario.journal.most_in_flight(),
        "scans": len(scenario.journal.find(kind=Kind.SCAN)),
    }


def _api_writes(history: list[RemarkWrite]) -> int:
    return sum(write.by is Writer.API for write in history)


def _overwritten(history: list[RemarkWrite]) -> bool:
    return any(
        before.by is Writer.STAFF and after.by is Writer.API and before.remark != after.remark
        for before, after in pairwise(history)
    )
