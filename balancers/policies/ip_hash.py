"""IP hash: the client's address, cut to a prefix, placed by rendezvous hashing.

Guarantees:
    All addresses of one prefix go to one endpoint. Shares, and what moves when endpoints come
    and go, are those of rendezvous hashing. An IPv4-mapped IPv6 address is its IPv4 address.

Use when:
    Clients carry nothing to recognise them by but their address.

Avoid when:
    A cookie or a session id is at hand: many clients share one address behind a NAT, and one
    client changes its address.

Cost:
    O(n) a pick, about a microsecond of it parsing text; pass ``ipaddress`` objects to save that.

Source:
    nginx ``ip_hash``, which sees 24 bits of an IPv4 address and takes 6,271 values; this one
    sees the whole prefix. Rendezvous hashing: Thaler and Ravishankar 1998.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, ClassVar, Unpack

from balancers.core.hashed import HashPolicy
from balancers.core.membership import Options
from balancers.endpoint import EndpointLike
from balancers.hashing import Key, check_seed
from balancers.structures.keyed import KeyedStructure
from balancers.structures.rendezvous import RendezvousHash

__all__ = ["IPHash"]


class IPHash(HashPolicy):
    """Places client addresses.

    The key of ``pick`` is the text of an address, str or bytes, or an ``ipaddress`` object; an
    int or any other text raises.

    Args:
        endpoints: The membership.
        ipv4_prefix: Leading bits of an IPv4 address that count, 0..32.
        ipv6_prefix: Leading bits of an IPv6 address that count, 0..128.
        seed: 0 ≤ seed < 2³².
        options: What every balancer takes; see ``Policy``.
    """

    aliases: ClassVar[tuple[str, ...]] = ("source",)
    key_kind = "address"

    def __init__(
        self,
        endpoints: Iterable[EndpointLike],
        *,
        ipv4_prefix: int = 32,
        ipv6_prefix: int = 64,
        seed: int = 0,
        **options: Unpack[Options],
    ) -> None:
        for name, bits, most in (("ipv4", ipv4_prefix, 32), ("ipv6", ipv6_prefix, 128)):
            if isinstance(bits, bool) or not isinstance(bits, int):
                raise TypeError(f"{name}_prefix is an int, not {bits!r}")
            if not 0 <= bits <= most:
                raise ValueError(f"{name}_prefix must be within 0..{most}, not {bits}")
        self._shift4 = 32 - ipv4_prefix
        self._shift6 = 128 - ipv6_prefix
        self._seed = check_seed(seed)
        super().__init__(endpoints, **options)

    def _structure(self, weights: dict[str, float], old: KeyedStructure | None) -> KeyedStructure:
        return RendezvousHash(weights, self._seed)

    def _check_key(self, key: Any) -> None:
        self._hashable(key)

    def _hashable(self, key: Any) -> Key:
        """Return the prefix of the address as bytes: 4 for IPv4, 16 for IPv6.

        Raises:
            TypeError: If the key is neither text nor an address.
            ValueError: If the text is not that of an address.
        """
        address = key if isinstance(key, IPv4Address | IPv6Address) else _parsed(key)
        if isinstance(address, IPv6Address):
            mapped = address.ipv4_mapped
            if mapped is None:
                return (int(address) >> self._shift6 << self._shift6).to_bytes(16, "big")
            address = mapped
        return (int(address) >> self._shift4 << self._shift4).to_bytes(4, "big")

    def _drawn_key(self, bits: int) -> Any:
        return IPv6Address(bits << 64)

    def _locator(self, structure: KeyedStructure) -> Callable[[Any], int]:
        locate, hashable = structure.locate, self._hashable
        return lambda key: locate(hashable(key))


def _parsed(key: Any) -> IPv4Address | IPv6Address:
    if isinstance(key, bytes):
        try:
            key = key.decode("ascii")
        except UnicodeDecodeError:
            raise ValueError(f"not an IP address: {key!r}") from None
    if not isinstance(key, str):
        raise TypeError(f"the key is an address: str, bytes or ipaddress, not {key!r}")
    try:
        return ip_address(key)
    except ValueError:
        raise ValueError(f"not an IP address: {key!r}") from None
