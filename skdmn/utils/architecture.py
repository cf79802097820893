"""Names of networks as the papers write them, such as "d9, m, BN, c81, m, de10"."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"(de|d|c)([1-9]\d*)|(m|BN)")

Token = tuple[str, int]  # what, and how many; 0 where that says nothing


def tokens_of(architecture: str) -> list[Token]:
    """Read an architecture."""
    tokens: list[Token] = []
    for word in architecture.split(","):
        found = _TOKEN.fullmatch(word.strip())
        if found is None:
            raise ValueError(
                f"{word.strip()!r} in {architecture!r} is no layer; write d or c and a "
                "number of filters, m, BN, or de and a number of classes."
            )
        kind, number, alone = found.groups()
        tokens.append((alone, 0) if alone else (kind, int(number)))
    kinds = [kind for kind, _ in tokens]
    if "de" in kinds[:-1]:
        raise ValueError(f"{architecture!r} has a layer behind de; write de last.")
    if "c" in kinds and "d" in kinds[kinds.index("c") :]:
        raise ValueError(
            f"{architecture!r} computes a layer behind one that is trained; write all "
            "d before the first c."
        )
    return tokens
