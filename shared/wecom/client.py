"""
The WeCom API (doc 92109 and its siblings) as Qudao uses it: typed calls, each under the corp's quota.

Names are WeCom's. Only the fields that are given are sent, so nothing is cleared by accident. A call fails with a
WeComError, or with what the quota raises when nothing was called: CallAborted, QueueUnavailable.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import aiohttp

from shared.clock import HeardClock
from shared.domain.channels.ways import ContactWayType, Scene, Way
from shared.domain.errors import TooEarly, TransientError
from shared.domain.events import Lane
from shared.domain.ids import ContactWayId, CorpId, ExternalUserId, StaffUserId, TagId
from shared.domain.relations import Relation
from shared.quota.port import Quota
from shared.wecom import types
from shared.wecom.calls import Calls, read
from shared.wecom.errcodes import means_nothing_there
from shared.wecom.tokens import TokenSource
from shared.wecom.transport import Answer, Request, Transport, Upload
from shared.wecom.types import (
    CorpTagGroup,
    CustomerDetails,
    NewContactWay,
    RelationPage,
)

PAGE: Final = 100
"""The most relations asked for in one page, and the most members in one ``get_by_user``."""

REMARK: Final = "externalcontact/remark"
MARK_TAG: Final = "externalcontact/mark_tag"
UPLOAD: Final = "media/upload"

WAYS_PAGE: Final = 1000
"""The most contact ways asked for in one page."""

_APIS_AT_ONCE: Final = 8
"""How many APIs are busy at the same time, at most: each has its own quota in flight."""


class WeCom:
    """The API for one lane, safe to share between tasks; :meth:`on` gives the same for another lane."""

    def __init__(self, calls: Calls, lane: Lane) -> None:
        self._calls = calls
        self._lane = lane

    def on(self, lane: Lane) -> "WeCom":
        """Return this client for *lane*: same connections, token and quota."""
        return WeCom(self._calls, lane)

    async def call(
        self,
        endpoint: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
        staff: str = "",
    ) -> Answer:
        """
        Return the raw answer of any API below ``/cgi-bin/``: a POST when there is a *body*, else a GET.

        *staff* is the one member the call acts for, if there is one; it tells the quota whom a refusal concerns.

        Raises:
            WeComError: WeCom answered an errcode, or nothing readable.
        """
        request = Request(endpoint=endpoint, params=params or {}, body=body, staff=staff)
        return await self._calls.send(request, self._lane)

    def waited(self, endpoint: str) -> float:
        """Return how many seconds the last call of *endpoint* in this lane waited until it might be made."""
        return self._calls.waited(endpoint, self._lane)

    def require_open(self, endpoint: str, staff: str = "") -> bool:
        """
        Tell whether *endpoint* may be called for *staff*; False when only as a probe, which the call itself decides.

        Raises:
            CallAborted, MemberHeld: It is held back; nothing was called.
        """
        return self._calls.require_open(endpoint, staff)

    async def write_prepared(
        self, endpoint: str, staff: str, prepare: Callable[[], Awaitable[Mapping[str, object] | None]]
    ) -> bool:
        """
        Send the body that *prepare* returns once *endpoint* may be called; tell whether there was one to send.

        So what a write rests on can be read when the write is about to go out.
        """

        async def request() -> Request | None:
            body = await prepare()
            return None if body is None else Request(endpoint=endpoint, body=body, staff=staff)

        return await self._calls.send_prepared(endpoint, staff, self._lane, request) is not None

    async def prepare(self) -> None:
        """Fetch a token if there is none, and so hear what time it is at WeCom; a failure is told by the next call."""
        await self._calls.prepare()

    # Members and customers

    async def get_follow_user_list(self) -> list[StaffUserId]:
        """Return the members with the customer-contact function, as far as the app sees them."""
        endpoint = "externalcontact/get_follow_user_list"
        answer = await self.call(endpoint)
        return [StaffUserId(userid) for userid in read(endpoint, types.read_ids, answer, "follow_user")]

    async def list_customers(self, staff: StaffUserId) -> list[ExternalUserId]:
        """
        Return the customers of *staff*.

        None is also what a member who left may have: it proves no deletion.
        """
        endpoint = "externalcontact/list"
        answer = await self.call(endpoint, params={"userid": staff}, staff=staff)
        if means_nothing_there(answer):
            return []
        return [ExternalUserId(each) for each in read(endpoint, types.read_ids, answer, "external_userid")]

    async def get_customer(
        self, customer: ExternalUserId, *, before: Callable[[], object] = lambda: None
    ) -> CustomerDetails:
        """
        Return *customer* with every relation the app may see; more than 500 take several calls.

        *before* is called when a request is about to go out; what it raises keeps it from going.

        Raises:
            TooEarly: Nobody visible follows *customer*, or not yet.
        """
        endpoint = "externalcontact/get"
        request = Request(endpoint=endpoint, params={"external_userid": customer})
        pages = [page async for page in self._calls.pages(request, self._lane, before=before)]
        return read(endpoint, types.read_customer, customer, pages)

    async def get_relation(
        self, staff: StaffUserId, customer: ExternalUserId, *, before: Callable[[], object] = lambda: None
    ) -> Relation:
        """
        Return the relation of *staff* and *customer* as it is now; *before* as in :meth:`get_customer`.

        Raises:
            TooEarly: *staff* is not among those who follow *customer*, or not yet.
        """
        relation = (await self.get_customer(customer, before=before)).relation_with(staff)
        if relation is None:
            raise TooEarly("externalcontact/get", meaning="the member is not among those who follow the customer")
        return relation

    async def get_by_user(self, staff: Sequence[StaffUserId], *, cursor: str = "") -> AsyncIterator[RelationPage]:
        """
        Yield the relations of up to 100 members, page by page, in no order; some may come twice.

        After a failure the listing can go on at the *cursor* of the last page that came.

        Raises:
            CursorExpired: The listing is incomplete: begin again.
        """
        if not 1 <= len(staff) <= PAGE:
            raise ValueError(f"get_by_user takes 1 to {PAGE} members")
        endpoint = "externalcontact/batch/get_by_user"
        body = {"userid_list": list(staff), "limit": PAGE}
        request = Request(endpoint=endpoint, body=body, staff=_only(staff))
        begun = bool(cursor)
        async for answer in self._calls.pages(request, self._lane, cursor):
            if means_nothing_there(answer):
                if begun:
                    raise TransientError(endpoint, meaning="the listing broke off")
                return
            begun = True
            yield read(endpoint, types.read_relation_page, answer, _only(staff))

    @asynccontextmanager
    async def relation(self, staff: StaffUserId, customer: ExternalUserId) -> AsyncIterator["RelationWriter"]:
        """
        Yield what writes to the relation of *staff* and *customer*; nobody else in this process does meanwhile.

        WeCom refuses two writes at once (45035, or 45033), and two who both read "unset" would both write. So it is
        opened before the read that a write rests on. Across processes a second writer writes the same value again.
        """
        async with self._calls.turn_at(staff, customer):
            yield RelationWriter(self, staff, customer)

    async def send_welcome_msg(
        self, welcome_code: str, *, text: str = "", attachments: Sequence[Mapping[str, object]] = ()
    ) -> None:
        """
        Send the welcome that *welcome_code* allows once, within 20 seconds of its event.

        Raises:
            WelcomeRefused: The code is spent or too old, or the two are chatting: nothing is left to do.
            TransientError: Also when another app is sending with this code: again within the 20 seconds.
        """
        content = {"content": text} if text else None
        body = _given(welcome_code=welcome_code, text=content, attachments=list(attachments) or None)
        await self.call("externalcontact/send_welcome_msg", body=body)

    async def upload_media(self, type: str, name: str, content: bytes) -> str:  # noqa: A002 - WeCom's name
        """
        Return the media id of a file of this *type* (image, voice, video or file), good for three days (doc 90253).

        Raises:
            AttachmentRefused: WeCom does not take the file.
        """
        upload = Upload(name=name, content=content)
        request = Request(endpoint=UPLOAD, params={"type": type}, upload=upload)
        return read(UPLOAD, types.read_media_id, await self._calls.send(request, self._lane))

    # Contact ways

    async def add_contact_way(
        self,
        *,
        state: str,
        users: Sequence[StaffUserId] = (),
        parties: Sequence[int] = (),
        type: int = ContactWayType.MULTIPLE,  # noqa: A002 - WeCom's name
        scene: int = Scene.QR_CODE,
        style: int | None = None,
        remark: str | None = None,
        skip_verify: bool | None = None,
        is_exclusive: bool | None = None,
    ) -> NewContactWay:
        """
        Create a contact way. **Not** safe to repeat: a repeat makes a second one.

        Only a mini-program button has a *style*. *is_exclusive* can neither be read nor changed later.

        Raises:
            TransientError: It may have been made all the same: look for its *state* before another try.
        """
        endpoint = "externalcontact/add_contact_way"
        body = _given(
            type=type,
            scene=scene,
            style=style,
            state=state,
            user=list(users) or None,
            party=list(parties) or None,
            remark=remark,
            skip_verify=skip_verify,
            is_exclusive=is_exclusive,
        )
        return read(endpoint, types.read_new_contact_way, await self.call(endpoint, body=body, staff=_only(users)))

    async def get_contact_way(self, config_id: ContactWayId) -> Way:
        """Return a contact way; PermanentError when it is gone."""
        endpoint = "externalcontact/get_contact_way"
        answer = await self.call(endpoint, body={"config_id": config_id})
        return read(endpoint, types.read_contact_way, answer)

    async def list_contact_way(
        self, *, start_time: int | None = None, end_time: int | None = None
    ) -> AsyncIterator[tuple[ContactWayId, ...]]:
        """
        Yield the ids of contact ways made between two Unix times, by default the last 90 days, in pages.

        Other apps' ways may be among them.

        Raises:
            CursorExpired: The listing is incomplete: begin again.
        """
        endpoint = "externalcontact/list_contact_way"
        body = _given(start_time=start_time, end_time=end_time, limit=WAYS_PAGE)
        async for answer in self._calls.pages(Request(endpoint=endpoint, body=body), self._lane):
            yield read(endpoint, types.read_contact_way_ids, answer)

    async def update_contact_way(
        self,
        config_id: ContactWayId,
        *,
        state: str | None = None,
        users: Sequence[StaffUserId] | None = None,
        parties: Sequence[int] | None = None,
        style: int | None = None,
        remark: str | None = None,
        skip_verify: bool | None = None,
    ) -> None:
        """Change what is given of a contact way; *users* and *parties* replace the old lists."""
        changes = _given(
            state=state,
            user=None if users is None else list(users),
            party=None if parties is None else list(parties),
            style=style,
            remark=remark,
            skip_verify=skip_verify,
        )
        body = {"config_id": config_id, **changes}
        await self.call("externalcontact/update_contact_way", body=body, staff=_only(users or ()))

    async def del_contact_way(self, config_id: ContactWayId) -> None:
        """Delete a contact way, and so every printed copy of its QR code; PermanentError when it is gone."""
        await self.call("externalcontact/del_contact_way", body={"config_id": config_id})

    # Corp tags

    async def get_corp_tags(
        self, *, tag_ids: Sequence[TagId] = (), group_ids: Sequence[str] = ()
    ) -> tuple[CorpTagGroup, ...]:
        """Return the corp's tags: all, or those asked for. Only the latter include deleted ones."""
        endpoint = "externalcontact/get_corp_tag_list"
        body = _given(tag_id=list(tag_ids) or None, group_id=list(group_ids) or None)
        return read(endpoint, types.read_tag_groups, await self.call(endpoint, body=body))

    async def add_corp_tag(self, group_name: str, names: Sequence[str]) -> CorpTagGroup:
        """Add tags to the group of this name, made when missing; return the group with these tags."""
        endpoint = "externalcontact/add_corp_tag"
        body = {"group_name": group_name, "tag": [{"name": name} for name in names]}
        return read(endpoint, types.read_tag_group, await self.call(endpoint, body=body))

    async def edit_corp_tag(self, tag_or_group_id: str, name: str) -> None:
        """Rename a tag or a group that this app made."""
        await self.call("externalcontact/edit_corp_tag", body={"id": tag_or_group_id, "name": name})

    async def del_corp_tag(self, *, tag_ids: Sequence[TagId] = (), group_ids: Sequence[str] = ()) -> None:
        """Delete tags and groups that this app made; a group goes with its last tag."""
        body = _given(tag_id=list(tag_ids) or None, group_id=list(group_ids) or None)
        await self.call("externalcontact/del_corp_tag", body=body)

    # Addresses

    async def get_callback_ips(self) -> list[str]:
        """Return where callbacks come from: addresses, ``a.b.c.*``, perhaps networks. Trust the signature."""
        answer = await self.call("getcallbackip")
        return read("getcallbackip", types.read_ids, answer, "ip_list")

    async def get_api_domain_ips(self) -> list[str]:
        """Return the addresses of the API itself, for an egress allow list."""
        answer = await self.call("get_api_domain_ip")
        return read("get_api_domain_ip", types.read_ids, answer, "ip_list")


class RelationWriter:
    """Writes to one relation. Made by :meth:`WeCom.relation`."""

    def __init__(self, wecom: WeCom, staff: StaffUserId, customer: ExternalUserId) -> None:
        self._wecom = wecom
        self._staff = staff
        self._customer = customer

    async def remark(
        self,
        *,
        remark: str | None = None,
        description: str | None = None,
        remark_company: str | None = None,
        remark_mobiles: Sequence[str] | None = None,
    ) -> None:
        """
        Set what is given of what the member sees of the customer. Safe to repeat: it overwrites.

        *remark* holds 20 characters at most, *description* 150. Empty *remark_mobiles* clear the numbers.

        Raises:
            TooEarly: The customer is not a contact of the member, or not yet.
            StaffBlocked: The app may not act for the member.
            ContentRefused: The text was refused as spam.
            PermanentError: A field is too long.
        """
        # How WeCom wants a list cleared is not documented; one empty text is the reading that keeps the type.
        mobiles = None if remark_mobiles is None else list(remark_mobiles) or [""]
        changes = _given(remark=remark, description=description, remark_company=remark_company, remark_mobiles=mobiles)
        if not changes:
            raise ValueError("remark needs at least one field")
        await self._write(REMARK, changes)

    async def remark_chosen(self, choose: Callable[[], Awaitable[tuple[str | None, str | None]]]) -> bool:
        """
        Set the remark and description that *choose* returns when the call is about to go out; tell whether it did.

        None of either leaves it alone; with two nothing is sent.

        Raises:
            As :meth:`remark`; also what *choose* raises.
        """

        async def prepare() -> Mapping[str, object] | None:
            remark, description = await choose()
            changes = _given(remark=remark, description=description)
            return self._body(changes) if changes else None

        return await self._wecom.write_prepared(REMARK, self._staff, prepare)

    async def mark_tag(self, *, add: Sequence[TagId] = (), remove: Sequence[TagId] = ()) -> None:
        """
        Add and remove corp tags. Safe to repeat.

        Raises:
            TagUnknown: There is no such tag, or not yet.
        """
        changes = _given(add_tag=list(add) or None, remove_tag=list(remove) or None)
        if not changes:
            raise ValueError("mark_tag needs at least one tag")
        await self._write(MARK_TAG, changes)

    async def _write(self, endpoint: str, changes: Mapping[str, object]) -> None:
        await self._wecom.call(endpoint, body=self._body(changes), staff=self._staff)

    def _body(self, changes: Mapping[str, object]) -> dict[str, object]:
        return {"userid": self._staff, "external_userid": self._customer, **changes}


@asynccontextmanager
async def open_wecom(
    *,
    base_url: str,
    corp: CorpId,
    corp_secret: str,
    quota: Quota,
    lane: Lane = Lane.LIVE,
    in_flight: int = 3,
    timeout: float = 10.0,
    proxy: str = "",
    token_patience: float = 0.0,
    clock: HeardClock | None = None,
) -> AsyncIterator[WeCom]:
    """
    Yield a client for *corp* with its own connections, which are closed at the end.

    *in_flight* is the quota's, per API: it sizes the connection pool. *timeout* is for one call, in seconds.
    *proxy* is an HTTP proxy for every call, with its credentials. *token_patience* is for how many seconds a call waits
    while no token can be had. *clock* hears what time it is at WeCom.
    """
    connector = aiohttp.TCPConnector(limit=in_flight * _APIS_AT_ONCE)
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        proxy=proxy or None,
        timeout=aiohttp.ClientTimeout(total=None),  # the transport's own covers the whole exchange
    ) as session:
        # aiohttp would send a GET again by itself when its connection breaks: a call that no permit covers.
        session._retry_connection = False  # noqa: SLF001 - there is no public switch
        transport = Transport(session, base_url, timeout=timeout, clock=clock)
        tokens = TokenSource(transport, corp, corp_secret)
        yield WeCom(Calls(transport=transport, tokens=tokens, quota=quota, token_patience=token_patience), lane)


def _given(**fields: object) -> dict[str, object]:
    """Return the fields that were given: what is not sent is not changed."""
    return {name: value for name, value in fields.items() if value is not None}


def _only(staff: Sequence[StaffUserId]) -> str:
    """Return the member a call acts for when it is one alone; a refusal of many does not say whom it means."""
    return staff[0] if len(staff) == 1 else ""
