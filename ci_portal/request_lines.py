"""The development server's log of requests, without their query strings: a script might put a token there."""

from __future__ import annotations

import logging
import re

_QUERY = re.compile(r"\?.*?(?= HTTP/[0-9.]+$|$)", re.DOTALL)


class WithoutQueries(logging.Filter):
    """Takes what follows the first "?" out of each text of a record, up to the protocol at its end."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record through."""
        if isinstance(record.args, tuple):
            record.args = tuple(_QUERY.sub("", arg) if isinstance(arg, str) else arg for arg in record.args)
        return True
