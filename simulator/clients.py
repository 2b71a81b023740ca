"""What people do in their clients: accept, write remarks, tag, chat, delete, hand over."""

from collections.abc import Callable
from enum import StrEnum
from typing import Any

from simulator.corp import KNOWN_TO_APIS, Follow, RelationStatus, RemarkWrite, Writer
from simulator.journal import Kind
from simulator.scans import Scanner
from simulator.scenario import Scenario


class Action(StrEnum):
    """Things people do to a relation."""

    ACCEPT = "accept"
    WRITE_REMARK = "write_remark"
    WRITE_DESCRIPTION = "write_description"
    TAG = "tag"
    CHAT = "chat"
    AGREE = "agree"
    STAFF_DELETES = "staff_deletes"
    CUSTOMER_DELETES = "customer_deletes"
    TRANSFER = "transfer"
    REFUSE_TRANSFER = "refuse_transfer"


class NotPossible(Exception):
    """People cannot do this: no such relation, or not in this state."""


class Clients:
    """The hands of members and customers."""

    def __init__(self, scenario: Scenario, scanner: Scanner) -> None:
        self._scenario = scenario
        self._scanner = scanner
        self._actions: dict[Action, Callable[..., None]] = {
            Action.ACCEPT: self._accept,
            Action.WRITE_REMARK: self._write_remark,
            Action.WRITE_DESCRIPTION: self._write_description,
            Action.TAG: self._tag,
            Action.CHAT: self._chat,
            Action.AGREE: self._agree,
            Action.STAFF_DELETES: self._staff_deletes,
            Action.CUSTOMER_DELETES: self._customer_deletes,
            Action.TRANSFER: self._transfer,
            Action.REFUSE_TRANSFER: self._refuse_transfer,
        }

    def act(self, action: Action, userid: str, external_userid: str, **arguments: Any) -> Follow:  # noqa: ANN401 - each action's own
        """
        Let somebody do *action* to the relation and return it.

        Raises:
            NotPossible: No such relation, or its state does not allow it.
        """
        relation = self._scenario.corp.relation(userid, external_userid)
        if relation is None:
            raise NotPossible("no such relation")
        self._actions[action](relation, **arguments)
        now = self._scenario.clock.time()
        member, customer = relation.key
        self._scenario.journal.append(Kind.CLIENT, now, now, action.value, userid=member, external_userid=customer)
        return relation

    def _accept(self, relation: Follow) -> None:
        if relation.status not in (RelationStatus.PENDING, RelationStatus.HALF):
            raise NotPossible("nothing to accept")
        self._scanner.become_full(relation)

    def _write_remark(self, relation: Follow, remark: str) -> None:
        self._need_contacts(relation)
        relation.remark = remark
        write = RemarkWrite(at=self._scenario.clock.time(), by=Writer.STAFF, remark=remark)
        relation.remarks.append(write)
        self._edited(relation)

    def _write_description(self, relation: Follow, description: str) -> None:
        self._need_contacts(relation)
        relation.description = description
        self._edited(relation)

    def _tag(self, relation: Follow, tag_id: str) -> None:
        self._need_contacts(relation)
        relation.tags.add(tag_id)
        self._edited(relation)

    def _chat(self, relation: Follow) -> None:
        relation.chatting = True

    def _agree(self, relation: Follow) -> None:
        """Let the customer agree to the chat archive; the event has a WelcomeCode of its own (doc 92005)."""
        self._need_contacts(relation)
        relation.agreed = True
        code = self._scenario.welcome_code(relation)
        self._scenario.contact_event("msg_audit_approved", relation, **({"WelcomeCode": code} if code else {}))

    def _staff_deletes(self, relation: Follow) -> None:
        self._need_contacts(relation)
        self._end(relation, RelationStatus.DELETED)
        self._scenario.contact_event("del_external_contact", relation)

    def _customer_deletes(self, relation: Follow) -> None:
        if relation.status is not RelationStatus.FULL:
            raise NotPossible("the two are not contacts")
        relation.status = RelationStatus.CUSTOMER_LEFT
        self._scenario.contact_event("del_follow_user", relation)

    def _transfer(self, relation: Follow, to: str) -> None:
        """Hand the customer to *to*: remark and tags go along, the state does not (UNCONFIRMED)."""
        self._need_contacts(relation)
        member = self._scenario.corp.member(to)
        if member is None:
            raise NotPossible("no such member")
        self._end(relation, RelationStatus.TRANSFERRED)
        self._scenario.contact_event("del_external_contact", relation, Source="DELETE_BY_TRANSFER")
        taken = Follow(
            member=member,
            customer=relation.customer,
            status=RelationStatus.FULL,
            add_way=202,
            oper_userid=relation.member.userid,
            added_at=self._scenario.clock.time(),
            remark=relation.remark,
            remarks=[write for write in relation.remarks[-1:] if write.by is Writer.STAFF],
            tags=set(relation.tags),
            chatting=True,
        )
        self._scenario.corp.link(taken)
        self._scanner.become_full(taken)

    def _refuse_transfer(self, relation: Follow, to: str) -> None:
        """Let the customer tap "not now"; the event names the member who was to take over (doc 92130)."""
        self._need_contacts(relation)
        self._scenario.emit(
            {
                "Event": "change_external_contact",
                "ChangeType": "transfer_fail",
                "FailReason": "customer_refused",
                "UserID": to,
                "ExternalUserID": relation.customer.external_userid,
            }
        )

    def _edited(self, relation: Follow) -> None:
        self._scenario.contact_event("edit_external_contact", relation)

    def _end(self, relation: Follow, status: RelationStatus) -> None:
        relation.status = status
        relation.ended_at = self._scenario.clock.time()

    def _need_contacts(self, relation: Follow) -> None:
        if relation.status not in KNOWN_TO_APIS:
            raise NotPossible("the two are not contacts")
