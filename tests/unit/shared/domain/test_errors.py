"""What errors say, and what they do not."""

from shared.domain.errors import (
    CallAborted,
    CallbackRejected,
    ConfigurationError,
    PermanentError,
    PoisonMessage,
    RateLimited,
)


def test_errors_carry_data_and_a_sentence():
    """Each error is told apart by its attributes and reads as a sentence in a log."""
    aborted = CallAborted("externalcontact/remark", 12.4)
    assert (aborted.endpoint, aborted.retry_after) == ("externalcontact/remark", 12.4)
    assert str(aborted) == "externalcontact/remark is held back for 12 s"
    rejected = CallbackRejected(403, "bad_signature")
    assert (rejected.status, str(rejected)) == (403, "bad_signature")
    assert PoisonMessage("unknown kind of work").reason == "unknown kind of work"
    assert str(ConfigurationError(["a: missing", "b: wrong"])) == "a: missing; b: wrong"


def test_an_api_error_names_endpoint_code_and_meaning():
    """An API error reads as where, what code and what it means; without an answer it says so."""
    refused = PermanentError("externalcontact/get", errcode=40096, hint="h1", meaning="bad id")
    assert str(refused) == "externalcontact/get: errcode 40096: bad id"
    assert (refused.errcode, refused.hint) == (40096, "h1")
    assert str(PermanentError("externalcontact/get")) == "externalcontact/get: no answer"
    assert RateLimited("gettoken", retry_after=60).retry_after == 60
