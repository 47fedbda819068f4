"""Where prompts are placed: pinned, because moving them empties every cache they warmed."""

from __future__ import annotations

import pytest

from balancers import PrefixAffinity
from balancers.structures.prefix import PrefixCuts

MEMBERS = [f"engine-{i}" for i in range(12)]

GOLDEN = [
    # prompt, candidates by default, with six of them and another seed and block, last digest
    ((), "9 0 1 4", "9 6 7 1 8 10", "00000000000000000000000000000000"),
    ((1,), "9 1 2 0", "10 1 7 5 2 8", "4ac405fbb7034400069c6dd3b4cd8a3d"),
    (range(24), "1 2 8 5", "10 0 8 4 9 1", "d1a05ca0d02f13d7cf7322d331740f60"),
    ((-1, 1 << 63, b"id"), "7 3 11 10", "4 10 1 7 11 8", "7fab0942d4bf48a25566b8b73200c75d"),
    ("Once upon a time" * 500, "3 7 5 1", "4 2 1 9 3 7", "83fe9f79f272ca665af2b24462b99ba3"),
    (range(1000), "1 10 3 2", "10 8 1 9 5 3", "d09b7911383e6d80147af36f1944c338"),
]


@pytest.mark.parametrize(("prompt", "plain", "other", "digest"), GOLDEN)
def test_candidates_are_pinned(prompt, plain, other, digest):
    """The candidates of a prompt, in order, in every process and release."""
    usual = PrefixAffinity(MEMBERS)
    varied = PrefixAffinity(MEMBERS, candidates=6, seed=7, block_size=16)

    assert usual.placed(prompt) == [MEMBERS[int(i)] for i in plain.split()]
    assert varied.placed(prompt) == [MEMBERS[int(i)] for i in other.split()]
    assert PrefixCuts(prompt, 2048, 0).digests[-1].hex() == digest
