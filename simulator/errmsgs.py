"""The texts of the error codes that the simulator answers (doc 90313). Clients must not depend on them."""

ERRMSGS: dict[int, str] = {
    -1: "system busy",
    6000: "data version conflict",
    40001: "invalid credential",
    40003: "invalid userid",
    40013: "invalid corpid",
    40014: "invalid access_token",
    40031: "invalid userid list",
    40035: "invalid parameter",
    40058: "invalid Request Parameter",
    40063: "some parameters are empty",
    40066: "invalid party list",
    40068: "invalid tagid",
    40071: "tag name already exists",
    40091: "invalid secret",
    40096: "invalid external userid",
    40098: "user not real-name verified",
    40126: "corp tag count exceeds limit",
    41001: "access_token missing",
    41002: "corpid missing",
    41004: "corpsecret missing",
    41009: "userid missing",
    41035: "external userid missing",
    41037: "contact way type missing",
    41038: "contact way scene missing",
    41039: "invalid contact way type",
    41040: "invalid contact way scene",
    41041: "contact way user exceeds limit",
    41042: "invalid contact way style",
    41043: "contact way config_id missing",
    41044: "invalid contact way config_id",
    41045: "contact way count exceeds limit",
    41049: "welcome code missing",
    41050: "invalid welcome code",
    41051: "externaluser has started chatting",
    41054: "user not activated",
    41057: "no wechat developer account bound",
    41064: "too many attachments",
    41065: "invalid attachment msgtype",
    41096: "welcome msg is being distributed",
    42001: "access_token expired",
    45009: "api freq out of limit",
    45033: "api concurrent out of limit",
    45035: "concurrent operation conflict",
    48002: "api forbidden",
    48006: "api forbidden for long time no used",
    50003: "app disabled",
    50100: "invalid cursor",
    60011: "no privilege to access/modify contact/party/agent",
    60020: "not allow to access from your ip",
    60031: "app not allowed to call api",
    60111: "userid not found",
    60123: "invalid party id",
    81026: "feature under maintenance",
    84061: "not external contact",
    84074: "no external contact permission",
    701008: "no licensed user",
}


def errmsg(errcode: int, hint: str, address: str, detail: str = "") -> str:
    """Return the full text of an error: what, trace id, caller's address, page to look it up."""
    text = detail or ERRMSGS.get(errcode, "error")
    return (
        f"{text}, hint: [{hint}], from ip: {address}, "
        f"more info at https://open.work.weixin.qq.com/devtool/query?e={errcode}"
    )
