"""
The APIs that are known by name: which are POSTs, which change anything, and what an answer to the others is about.

Others may be called too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_CONTACT: Final = "externalcontact/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """One API below ``/cgi-bin/``; ``about`` is the field that the answer to a reading call is about."""

    name: str
    posts: bool = True
    about: str = ""

    @property
    def writes(self) -> bool:
        """Whether it changes anything."""
        return not self.about


_READ_BY_GET: Final = {
    "getcallbackip": "ip_list",
    "get_api_domain_ip": "ip_list",
    f"{_CONTACT}get_follow_user_list": "follow_user",
    f"{_CONTACT}list": "external_userid",
    f"{_CONTACT}get": "external_contact",
}
_READ_BY_POST: Final = {
    f"{_CONTACT}batch/get_by_user": "external_contact_list",
    f"{_CONTACT}get_contact_way": "contact_way",
    f"{_CONTACT}list_contact_way": "contact_way",
    f"{_CONTACT}get_corp_tag_list": "tag_group",
    f"{_CONTACT}get_user_behavior_data": "behavior_data",
}
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
    "media/upload",
)

APIS: Final = {
    api.name: api
    for api in (
        *(Api(name=name, posts=False, about=about) for name, about in _READ_BY_GET.items()),
        *(Api(name=name, about=about) for name, about in _READ_BY_POST.items()),
        *(Api(name=name) for name in _WRITE),
    )
}


def errcode_is_due(endpoint: str, answer: Mapping[str, object]) -> bool:
    """
    Tell whether WeCom would have put an errcode into *answer*.

    Some APIs leave it out of a success (doc 90313). It does not say which; so of one that reads, what the answer is
    about may stand in its place, and nothing is known of those that are not known by name.
    """
    api = APIS.get(endpoint)
    return api is not None and (api.writes or api.about not in answer)


def full_name(name: str) -> str:
    """Return the path that *name* is short for: ``get`` means ``externalcontact/get``; others stay as they are."""
    name = name.strip("/").removeprefix("cgi-bin/")
    return name if name in APIS or _CONTACT + name not in APIS else _CONTACT + name
