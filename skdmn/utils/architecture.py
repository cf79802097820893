"""Architectures in the notation of the papers, such as "d9, m, BN, c81, m, de10".

d is a computed convolution, c a trained one, m max pooling, BN batch normalization and
de a dense layer. The number after d and c is that of filters. The number after the last
de is that of classes; a de before it is a hidden layer.
"""

from __future__ import annotations

import re

_TOKEN = re.compile(r"(de|d|c)([1-9]\d*)|(m|BN|d)")

Token = tuple[str, int]  # kind of layer and its number; 0 if it has none


def tokens_of(architecture: str, *, uncounted: bool = False) -> list[Token]:
    """Return the layers of an architecture.

    Parameters
    ----------
    architecture : str
        Layers, separated by commas.
    uncounted : bool, default=False
        If True, d may have no number: cutoffs then choose the number of filters.

    Returns
    -------
    list of (str, int)
        Kind of each layer and its number; 0 if it has none.

    Raises
    ------
    ValueError
        If a layer cannot be read, another layer comes after de, or a computed layer
        comes after a trained one.
    """
    tokens: list[Token] = []
    for word in architecture.split(","):
        found = _TOKEN.fullmatch(word.strip())
        if found is None or (found[3] == "d" and not uncounted):
            raise ValueError(
                f"{word.strip()!r} in {architecture!r} is not a layer; write d or c "
                "with a number of filters, m, BN, or de with a number of outputs."
            )
        kind, number, alone = found.groups()
        tokens.append((alone, 0) if alone else (kind, int(number)))
    kinds = [kind for kind, _ in tokens]
    if "de" in kinds and set(kinds[kinds.index("de") :]) != {"de"}:
        raise ValueError(f"{architecture!r} has a layer after de; write de last.")
    if "c" in kinds and "d" in kinds[kinds.index("c") :]:
        raise ValueError(
            f"{architecture!r} has a computed layer d after a trained layer c; write "
            "all d before the first c."
        )
    return tokens
