"""Architectures in the notation of the papers, such as "d9, m, BN, c81, m, de10".

d is a computed convolution, c a trained one, m max pooling, BN batch normalization and
de the dense layer at the end. The number after d and c is that of filters; after de, it
is the number of classes.
"""

from __future__ import annotations

import re

_TOKEN = re.compile(r"(de|d|c)([1-9]\d*)|(m|BN)")

Token = tuple[str, int]  # kind of layer and its number; 0 for m and BN


def tokens_of(architecture: str) -> list[Token]:
    """Return the layers of an architecture.

    Parameters
    ----------
    architecture : str
        Layers, separated by commas.

    Returns
    -------
    list of (str, int)
        Kind of each layer and its number; 0 for m and BN.

    Raises
    ------
    ValueError
        If a layer cannot be read, de is not the last layer, or a computed layer comes
        after a trained one.
    """
    tokens: list[Token] = []
    for word in architecture.split(","):
        found = _TOKEN.fullmatch(word.strip())
        if found is None:
            raise ValueError(
                f"{word.strip()!r} in {architecture!r} is not a layer; write d or c "
                "with a number of filters, m, BN, or de with a number of classes."
            )
        kind, number, alone = found.groups()
        tokens.append((alone, 0) if alone else (kind, int(number)))
    kinds = [kind for kind, _ in tokens]
    if "de" in kinds[:-1]:
        raise ValueError(f"{architecture!r} has a layer after de; write de last.")
    if "c" in kinds and "d" in kinds[kinds.index("c") :]:
        raise ValueError(
            f"{architecture!r} has a computed layer d after a trained layer c; write "
            "all d before the first c."
        )
    return tokens
