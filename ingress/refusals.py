"""Which setting is likely wrong when callbacks are refused one after the other, and who sends to a wrong path."""

from typing import Final

from structlog.typing import FilteringBoundLogger

from ingress.metrics import IngressMetrics
from shared.domain.errors import CallbackRejected
from shared.summaries import Summaries

IN_A_ROW: Final = 2
"""Refusals without a callback in between that was WeCom's, from which a setting is suspected: anybody may send one."""

SAY_AGAIN_SECONDS: Final = 60.0

TOKEN, AES_KEY, CORP_ID = "QUDAO_CALLBACK_TOKEN", "QUDAO_CALLBACK_AES_KEY", "QUDAO_CORP_ID"
_SETTINGS: Final = {
    "wrong signature": TOKEN,
    "ciphertext is not base64": AES_KEY,
    "ciphertext is truncated": AES_KEY,
    "wrong padding": AES_KEY,
    "wrong length field": AES_KEY,
    "wrong receiver": CORP_ID,
}
_REMEDIES: Final = {
    TOKEN: "compare it with the Token under 接收消息 → 设置API接收",
    AES_KEY: "compare it with the EncodingAESKey under 接收消息 → 设置API接收",
    CORP_ID: "compare it with the id under 我的企业 → 企业信息; it may also be the key of another corp's app",
}
PATH: Final = "/wecom/callback"


class Refusals:
    """Counts what is refused, and says once a minute what a person should look at."""

    def __init__(self, metrics: IngressMetrics, log: FilteringBoundLogger) -> None:
        self._metrics = metrics
        self._log = log
        self._in_a_row: dict[str, int] = {}
        self._summaries = Summaries(SAY_AGAIN_SECONDS)

    def refused(self, rejection: CallbackRejected) -> None:
        """Note that a callback was refused."""
        setting = _SETTINGS.get(rejection.reason) if rejection.status == 403 else None
        if setting is None:
            return
        count = self._in_a_row[setting] = self._in_a_row.get(setting, 0) + 1
        self._metrics.refused_in_a_row.labels(setting).set(count)
        if count >= IN_A_ROW:
            self._summaries.note(setting, lambda _: self._suspect(setting, count))

    def accepted(self) -> None:
        """Note that a callback was WeCom's: all settings are right."""
        for setting in self._in_a_row:
            self._metrics.refused_in_a_row.labels(setting).set(0)
        self._in_a_row.clear()

    def lost(self, method: str) -> None:
        """Note a request to a path that is not served."""
        self._metrics.rejected.labels(404, "wrong path").inc()
        self._summaries.note(
            "path",
            lambda _: self._log.warning(
                "callback.wrong_path", method=method, remedy=f"the callback URL ends in {PATH}"
            ),
        )

    def _suspect(self, setting: str, refused: int) -> None:
        self._log.error("callback.setting_suspected", setting=setting, remedy=_REMEDIES[setting], refused=refused)
