"""The API paths that exist, what serves them, and what their answers contain even when they fail."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from simulator import contact_ways, customers, media, remarks, tags, welcomes
from simulator.calls import Call, Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """
    One API.

    Attributes:
        empty: The fields that a failing answer carries too.
        subject: What two calls at once must not share, from the body; None for no such thing.
        customer_contact: Needs the customer-contact permission (48002), and is limited in concurrency.
        uploads: Takes a form with a file instead of JSON.
    """

    serve: Callable[[Call], Result]
    posts: bool = True
    empty: Mapping[str, Any] = field(default_factory=dict)
    subject: Callable[[Mapping[str, Any]], tuple[str, ...]] | None = None
    customer_contact: bool = True
    uploads: bool = False


def endpoints() -> dict[str, Endpoint]:
    """Return all APIs by path below ``/cgi-bin/``, with fresh state where they keep any."""
    contact = {
        "get_follow_user_list": Endpoint(serve=customers.get_follow_user_list, posts=False, empty={"follow_user": []}),
        "list": Endpoint(serve=customers.list_customers, posts=False, empty={"external_userid": []}),
        "get": Endpoint(serve=customers.get, posts=False, empty={"follow_user": []}),
        "batch/get_by_user": Endpoint(serve=customers.Batch().get_by_user, empty={"external_contact_list": []}),
        "remark": Endpoint(serve=remarks.remark, subject=_relation),
        "add_contact_way": Endpoint(serve=contact_ways.add),
        "get_contact_way": Endpoint(serve=contact_ways.get),
        "list_contact_way": Endpoint(serve=contact_ways.list_ways, empty={"contact_way": []}),
        "update_contact_way": Endpoint(serve=contact_ways.update),
        "del_contact_way": Endpoint(serve=contact_ways.delete),
        "close_temp_chat": Endpoint(serve=contact_ways.close_temp_chat),
        "send_welcome_msg": Endpoint(serve=welcomes.send_welcome_msg, subject=_welcome),
        "get_corp_tag_list": Endpoint(serve=tags.get_corp_tag_list, empty={"tag_group": []}),
        "add_corp_tag": Endpoint(serve=tags.add_corp_tag),
        "edit_corp_tag": Endpoint(serve=tags.edit_corp_tag),
        "del_corp_tag": Endpoint(serve=tags.del_corp_tag),
        "mark_tag": Endpoint(serve=tags.mark_tag, subject=_relation),
    }
    addresses = Endpoint(serve=_addresses, posts=False, empty={"ip_list": []}, customer_contact=False)
    return {f"externalcontact/{name}": endpoint for name, endpoint in contact.items()} | {
        "getcallbackip": addresses,
        "get_api_domain_ip": addresses,
        "media/upload": Endpoint(serve=media.upload, customer_contact=False, uploads=True),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class OldPath:
    """A path of before 2019-05-23, served still: its successor, and the old names of what its answers hold."""

    now: str
    renamed: Mapping[str, str] = field(default_factory=dict)


OLD_PATHS: Final = {
    "crm/get_customer_contacts": OldPath(
        now="externalcontact/get_follow_user_list", renamed={"follow_user": "customer_contacts"}
    ),
    "crm/get_external_contact_list": OldPath(now="externalcontact/list"),
    "crm/get_external_contact": OldPath(now="externalcontact/get"),
    "crm/add_contact_way": OldPath(now="externalcontact/add_contact_way"),
    "crm/get_contact_way": OldPath(now="externalcontact/get_contact_way"),
    "crm/update_contact_way": OldPath(now="externalcontact/update_contact_way"),
    "crm/del_contact_way": OldPath(now="externalcontact/del_contact_way"),
}
"""What is younger than the new paths never had an old one."""


def _relation(body: Mapping[str, Any]) -> tuple[str, ...]:
    return "relation", str(body.get("userid")).casefold(), str(body.get("external_userid"))


def _welcome(body: Mapping[str, Any]) -> tuple[str, ...]:
    return "welcome", str(body.get("welcome_code"))


def _addresses(_: Call) -> Result:
    """Return addresses as the live service writes them: single ones and wildcards; here, of this machine."""
    return {"ip_list": ["127.0.0.1", "127.0.0.*"]}
