"""The key that clients send: made where none was given, compared in constant time.

Flows in: headers. Flows out: whether to answer.
"""

import hmac
import secrets

_BEARER = "bearer "


def new_key() -> str:
    """A key nobody can guess, of letters that survive every shell."""
    return f"jk-{secrets.token_urlsafe(32)}"


def is_let_in(key: str | None, authorization: str | None) -> bool:
    """Whether a request's `Authorization: Bearer KEY` holds the key; anybody is let in where there is none.

    How long this takes says nothing of how much of a wrong key is right.
    """
    if key is None:
        return True
    said = authorization or ""
    given = said[len(_BEARER) :].strip() if said[: len(_BEARER)].lower() == _BEARER else ""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), key.encode())
