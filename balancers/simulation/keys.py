"""What a request is placed by, and how each kind of policy is told.

A policy names the kind of key it takes (``key_kind``): ``"any"`` text, bytes or integer, an
``"address"``, or a ``"prefix"``, the block ids of a prompt. One workload serves all of them:
whatever it uses as keys is turned, deterministically, into what the policy at hand takes. Server
models see the key as the workload made it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any, NamedTuple, TypeAlias

__all__ = ["SESSION_BLOCKS", "Adapt", "Prompt", "adapter", "as_address", "session"]

SESSION_BLOCKS = 2
"""Leading blocks that name a conversation to policies which know nothing of prefixes: the first
is often a system prompt that everybody shares, the second is the conversation's own."""

_REMEMBERED = 1 << 16

Adapt: TypeAlias = Callable[[Sequence[Any]], Sequence[Any]]
"""Turns the keys of a batch."""


class Prompt(NamedTuple):
    """A request to a language model.

    Attributes:
        blocks: Ids of the prompt's blocks; equal ids mean equal text up to and with that block.
        tokens: Tokens of the prompt, ≥ 1.
        output: Tokens of the answer, ≥ 0.
    """

    blocks: tuple[int, ...]
    tokens: int
    output: int


def session(prompt: Prompt) -> str:
    """Return the text that names the prompt's conversation."""
    return "-".join(map(str, prompt.blocks[:SESSION_BLOCKS]))


def as_address(key: object) -> str:
    """Return the key if it is an address, else one in 10.0.0.0/8 derived from it by BLAKE2."""
    text = key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key)
    try:
        ip_address(text)
    except ValueError:
        one, two, three = hashlib.blake2b(
            text.encode("utf-8", "surrogatepass"), digest_size=3
        ).digest()
        return f"10.{one}.{two}.{three}"
    return text


def _as_prefix(key: object) -> object:
    if isinstance(key, Prompt):
        return key.blocks
    if isinstance(key, str):
        return key.encode("utf-8", "surrogatepass")
    return str(key).encode() if isinstance(key, int) else key


def _as_any(key: object) -> object:
    return session(key) if isinstance(key, Prompt) else key


def adapter(kind: str) -> Adapt | None:
    """Return what turns a workload's keys into keys of ``kind``; None: hand them on as they are.

    Args:
        kind: ``"any"``, ``"address"`` or ``"prefix"``; anything else is handed the raw keys.
    """
    if kind == "any":
        return _only_prompts
    if kind == "prefix":
        return lambda keys: list(map(_as_prefix, keys))
    if kind == "address":
        known: dict[object, str] = {}  # cleared when full, so that memory stays flat

        def addresses(keys: Sequence[Any]) -> Sequence[Any]:
            if len(known) > _REMEMBERED:
                known.clear()
            found = []
            for key in keys:
                key = _as_any(key)
                address = known.get(key)
                if address is None:
                    address = known[key] = as_address(key)
                found.append(address)
            return found

        return addresses
    return None


def _only_prompts(keys: Sequence[Any]) -> Sequence[Any]:
    # A workload's keys are of one sort, so the first one tells.
    return list(map(_as_any, keys)) if keys and isinstance(keys[0], Prompt) else keys
