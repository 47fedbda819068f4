"""The nginx and HAProxy placements against the real proxies, started on loopback.

A thousand keys, weighted and unweighted, with all servers up and with one down: every answer must
agree. Where a proxy is not installed its tests are skipped, and say so.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from golden.live_proxies import asked, free_ports, running

from balancers.structures.placement import HaproxyRing, NginxRing

KEYS = [
    *(f"user:{i}".encode() for i in range(700)),
    *(f"/images/{i * i}.png?size={i % 7}".encode() for i in range(200)),
    *(f"clé-{i}".encode() for i in range(100)),
]
WEIGHTS = [1, 2, 3, 4, 5, 1, 1, 7, 1, 10]
EQUAL = [1] * 10


def first_but(walk, down: str | None) -> str:
    """Return the first candidate that is not down."""
    return next(id_ for id_ in walk if id_ != down)


@pytest.mark.parametrize("weights", [EQUAL, WEIGHTS], ids=["equal", "weighted"])
@pytest.mark.parametrize("down", [None, 4], ids=["all up", "one down"])
def test_nginx(tmp_path: Path, weights: list[int], down: int | None):
    """Every key goes where ``hash $http_x_key consistent`` of a real nginx sends it."""
    front, *ports = free_ports(11)
    servers = [f"127.0.0.1:{port}" for port in ports]
    lines = [
        f"server {server} weight={weight}{' down' if at == down else ''};"
        for at, (server, weight) in enumerate(zip(servers, weights, strict=True))
    ]
    listens = "\n".join(f"listen {server};" for server in servers)
    paths = "\n".join(
        f"{name}_temp_path {tmp_path};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = tmp_path / "nginx.conf"
    config.write_text(f"""
        daemon off; master_process off; pid {tmp_path}/pid; error_log {tmp_path}/error.log;
        events {{}}
        http {{
            access_log off; keepalive_requests 100000; {paths}
            upstream pool {{ hash $http_x_key consistent; {" ".join(lines)} keepalive 16; }}
            server {{ {listens} keepalive_requests 100000; return 204; }}
            server {{
                listen 127.0.0.1:{front};
                location / {{
                    proxy_pass http://pool; proxy_http_version 1.1;
                    proxy_set_header Connection "";
                    add_header X-Server $upstream_addr;
                }}
            }}
        }}
    """)
    with running("nginx", ["-c", str(config)], [front], tmp_path / "nginx.log"):
        found = asked(front, KEYS, "X-Server")
    ring = NginxRing(dict(zip(servers, weights, strict=True)))
    gone = None if down is None else servers[down]
    assert found == [first_but(ring.walk(key), gone) for key in KEYS]
    assert len(set(found)) == (10 if down is None else 9)


@pytest.mark.parametrize("weights", [EQUAL, WEIGHTS], ids=["equal", "weighted"])
@pytest.mark.parametrize("down", [None, 4], ids=["all up", "one down"])
@pytest.mark.parametrize(
    ("options", "function", "mixed"),
    [
        ("", "sdbm", True),
        ("djb2 avalanche", "djb2", True),
        ("crc32", "crc32", False),
    ],
    ids=["default", "djb2 avalanche", "crc32"],
)
def test_haproxy(
    tmp_path: Path, weights: list[int], down: int | None, options: str, function: str, mixed: bool
):
    """Every key goes where ``hash-type consistent`` of a real HAProxy sends it."""
    front, back = free_ports(2)
    numbers = [1, 2, 3, 5, 8, 13, 21, 34, 55, 89]
    servers = [
        f"server s{number} 127.0.0.1:{back} id {number} weight {weight}"
        + (" disabled" if at == down else "")
        for at, (number, weight) in enumerate(zip(numbers, weights, strict=True))
    ]
    lines = [
        "global",
        "  maxconn 200",
        "defaults",
        "  mode http",
        "  timeout connect 5s",
        "  timeout client 20s",
        "  timeout server 20s",
        "listen front",
        f"  bind 127.0.0.1:{front}",
        "  balance hdr(X-Key)",
        f"  hash-type consistent {options}",
        "  http-response set-header X-Server %[srv_id]",
        *(f"  {server}" for server in servers),
        "listen back",
        f"  bind 127.0.0.1:{back}",
        "  http-request return status 204",
    ]
    config = tmp_path / "haproxy.cfg"
    config.write_text("\n".join(lines) + "\n")
    with running("haproxy", ["-db", "-f", str(config)], [front, back], tmp_path / "haproxy.log"):
        found = asked(front, KEYS, "X-Server")
    ring = HaproxyRing(
        dict(zip(map(str, numbers), weights, strict=True)), key_hash=function, avalanche=mixed
    )
    gone = None if down is None else str(numbers[down])
    assert found == [first_but(ring.walk(key), gone) for key in KEYS]
    assert len(set(found)) == (10 if down is None else 9)
