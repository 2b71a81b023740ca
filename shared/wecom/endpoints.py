"""The APIs that are known by name: which are POSTs, and which change anything. Others may be called too."""

from dataclasses import dataclass
from typing import Final

_CONTACT: Final = "externalcontact/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """One API below ``/cgi-bin/``."""

    name: str
    posts: bool = True
    writes: bool = False


_READ_BY_GET: Final = (
    "getcallbackip",
    "get_api_domain_ip",
    f"{_CONTACT}get_follow_user_list",
    f"{_CONTACT}list",
    f"{_CONTACT}get",
)
_READ_BY_POST: Final = (
    f"{_CONTACT}batch/get_by_user",
    f"{_CONTACT}get_contact_way",
    f"{_CONTACT}list_contact_way",
    f"{_CONTACT}get_corp_tag_list",
    f"{_CONTACT}get_user_behavior_data",
)
_WRITE: Final = (
    f"{_CONTACT}remark",
    f"{_CONTACT}mark_tag",
    f"{_CONTACT}add_contact_way",
    f"{_CONTACT}update_contact_way",
    f"{_CONTACT}del_contact_way",
    f"{_CONTACT}close_temp_chat",
    f"{_CONTACT}send_welcome_msg",
    f"{_CONTACT}add_corp_tag",
    f"{_CONTACT}edit_corp_tag",
    f"{_CONTACT}del_corp_tag",
)

APIS: Final = {
    api.name: api
    for api in (
        *(Api(name=name, posts=False) for name in _READ_BY_GET),
        *(Api(name=name) for name in _READ_BY_POST),
        *(Api(name=name, writes=True) for name in _WRITE),
    )
}


def full_name(name: str) -> str:
    """Return the path that *name* is short for: ``get`` means ``externalcontact/get``; others stay as they are."""
    name = name.strip("/").removeprefix("cgi-bin/")
    return name if name in APIS or _CONTACT + name not in APIS else _CONTACT + name
