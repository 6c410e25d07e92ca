"""Refusals as OpenAI's API writes them: a status, and one sentence in JSON.

Flows in: what is wrong. Flows out: `{"error": {"message": ..., "type": ..., "param": ..., "code": ...}}`.
"""

import re
from typing import Any

from jukebox_hf.app.output import clean

_FLAG = re.compile(r"--([a-z][a-z0-9-]*)")
_NAMED = re.compile(r"(?:(?<=\bthe request )|\b(?=\w+=))(lyrics|artist|genre|takes|format)\b")
_ERROR_TYPES = {401: "authentication_error", 429: "rate_limit_error"}


class ApiError(Exception):
    """A request that is refused.

    Attributes:
        status: of HTTP.
        message: one sentence.
        code: one word for programs; None where the status says it all.
        param: the field of the request that is wrong.
    """

    def __init__(self, status: int, message: str, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param

    def to_dict(self) -> dict[str, Any]:
        """The body of the answer."""
        kind = _ERROR_TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        param = None if self.param is None else clean(self.param)  # which a client may have made up
        return {"error": {"message": clean(self.message), "type": kind, "param": param, "code": self.code}}


def in_words_of_requests(sentence: str, names: dict[str, str]) -> str:
    """A sentence for the command line in the words of a request: `--top-k 0` becomes `top_k 0`.

    Args:
        names: what a request calls the options that it calls otherwise, such as artist: voice.
    """

    def field(found: re.Match) -> str:
        word = found[1].replace("-", "_")
        if word.startswith("no_"):
            return f'"{word[3:]}": false'
        return names.get(word, word)

    return _NAMED.sub(lambda found: names.get(found[1], found[1]), _FLAG.sub(field, sentence))
