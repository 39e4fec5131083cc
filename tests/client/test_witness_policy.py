"""Witness policies: the specification's example, groups as arithmetic, and every line that is none refused by number."""

import contextlib
import itertools
from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import key
from platemark import witness_policy
from platemark.cosignature import CosignatureSigner
from platemark.errors import WitnessPolicyError
from platemark.note import NoteSigner

LOG = NoteSigner("log.example/a", key("log", "ed25519")).verifier.vkey
LOG_PQ = CosignatureSigner("log.example/a", key("log", "mldsa44")).verifier.vkey


def vkey(name: str) -> str:
    """The key of a witness."""
    return CosignatureSigner(f"{name}.example", key(name, "ed25519")).verifier.vkey


EXAMPLE = f"""
# The example of c2sp.org/tlog-policy, with keys.
log {LOG}

witness X1 {vkey("X1")}
witness X2 {vkey("X2")} https://x2.example/
\twitness  X3\t{vkey("X3")} \t
group X-witnesses 2 X1 X2 X3

witness Y1 {vkey("Y1")}
witness Y2 {vkey("Y2")}
witness Y3 {vkey("Y3")}
group Y-witnesses any Y1 Y2 Y3

  # a comment
group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
"""
NAMES = ["X1", "X2", "X3", "Y1", "Y2", "Y3"]


def met(chosen: Collection[str]) -> bool:
    """What the example asks for."""
    return sum(name[0] == "X" for name in chosen) >= 2 and any(name[0] == "Y" for name in chosen)


def test_the_example_of_the_specification_means_what_it_says() -> None:
    """For each of the 64 sets of cosigners: two of the X and one of the Y."""
    policy = witness_policy.parse(EXAMPLE)
    for count in range(7):
        for chosen in itertools.combinations(NAMES, count):
            assert policy.satisfied_by(chosen) == met(chosen)
    assert [each.name for each in policy.witnesses] == NAMES
    assert [each.url for each in policy.witnesses] == [None, "https://x2.example/", *[None] * 4]
    assert [each.vkey for each in policy.verifiers] == [vkey(name) for name in NAMES]


@given(st.integers(1, 6), st.integers(1, 6), st.sets(st.integers(0, 5)))
def test_k_of_n_counts_each_witness_once(count: int, threshold: int, cosigned: set[int]) -> None:
    """A name that is repeated, or unknown, or that of a group, adds nothing."""
    names = NAMES[:count]
    lines = [f"witness {name} {vkey(name)}" for name in names]
    text = "\n".join([*lines, f"group all-of-them {min(threshold, count)} {' '.join(names)}", "quorum all-of-them", ""])
    policy = witness_policy.parse(text)
    chosen = [NAMES[each] for each in cosigned]
    met = len(set(chosen) & set(names)) >= min(threshold, count)
    assert policy.satisfied_by([*chosen, *chosen, "stranger"]) == met
    assert not policy.satisfied_by(["all-of-them"])


def test_one_witness_may_be_the_quorum_and_nobody_may_be() -> None:
    """`quorum X1` wants X1; `quorum none` is met by nobody."""
    policy = witness_policy.parse(f"witness X1 {vkey('X1')}\nquorum X1\n")
    assert policy.satisfied_by(["X1"])
    assert not policy.satisfied_by([])
    assert witness_policy.parse("quorum none\n").satisfied_by([])


def test_a_log_may_have_both_kinds_of_key() -> None:
    """Ed25519 of type 01 and ML-DSA-44 of type 06."""
    policy = witness_policy.parse(f"log {LOG} https://log.example\nlog {LOG_PQ}\nquorum none\n")
    assert [(each.verifier.vkey, each.url) for each in policy.logs] == [(LOG, "https://log.example"), (LOG_PQ, None)]


W = f"witness W {vkey('W')}\n"
V = f"witness V {vkey('V')}\n"
SAME = CosignatureSigner("other.example", key("W", "ed25519")).verifier.vkey


REFUSED: list[tuple[str, str]] = [
    ("", "quorum"),
    (W, "quorum"),
    ("quorum none\nquorum none\n", "line 2"),
    ("quorum W\n" + W, "line 1"),
    (W + "quorum X\n", "line 2"),
    (W + "quorum\n", "line 2"),
    (W + "quorum W W\n", "line 2"),
    (W + W + "quorum W\n", "line 2"),
    (W + f"witness V {SAME}\nquorum W\n", "line 2"),
    (W + "group G any\nquorum W\n", "line 2"),
    (W + "group G 0 W\nquorum W\n", "line 2"),
    (W + "group G 2 W\nquorum W\n", "line 2"),
    (W + "group G 01 W\nquorum W\n", "line 2"),
    (W + "group G some W\nquorum W\n", "line 2"),
    (W + "group G any W W\nquorum W\n", "line 2"),
    (W + "group G any V\nquorum W\n", "line 2"),
    (W + "group G any none\nquorum W\n", "line 2"),
    (W + "group W any W\nquorum W\n", "line 2"),
    (W + "group G any G\nquorum W\n", "line 2"),
    (W + V + "group G any W\ngroup H any W V\nquorum W\n", "line 4"),
    (f"witness none {vkey('W')}\nquorum none\n", "line 1"),
    (f"witness W {LOG}\nquorum none\n", "line 1"),
    (f"log {vkey('W')}\nquorum none\n", "line 1"),
    (f"log {LOG}\nlog {LOG}\nquorum none\n", "line 2"),
    (f"log {LOG} a b\nquorum none\n", "line 1"),
    ("log nonsense\nquorum none\n", "line 1"),
    ("witness W\nquorum none\n", "line 1"),
    ("Quorum none\n", "line 1"),
    ("quorum none # comment\n", "line 1"),
    ("quorum none", "policy"),
    ("quorum none\r\n", "policy"),
    ("quorum\x0bnone\n", "policy"),
    ("quorum none\n\x7f", "policy"),
    ("quorum\u00a0none\n", "line 1"),
    ("#" + " " * 262144 + "\nquorum none\n", "policy"),
]


@pytest.mark.parametrize(("text", "field"), REFUSED)
def test_what_is_no_policy_is_refused_by_line(text: str, field: str) -> None:
    """Each mistake is named with its line; nothing is guessed."""
    with pytest.raises(WitnessPolicyError) as caught:
        witness_policy.parse(text)
    assert caught.value.field == field
    assert caught.value.reason


def test_there_is_a_limit_to_what_is_read() -> None:
    """256 groups are taken, 257 are not."""
    groups = [f"group G{number} any {f'G{number - 1}' if number else 'W'}\n" for number in range(257)]
    assert witness_policy.parse(W + "".join(groups[:256]) + "quorum G255\n").satisfied_by(["W"])
    with pytest.raises(WitnessPolicyError, match="more than 256"):
        witness_policy.parse(W + "".join(groups) + "quorum G255\n")


@given(st.text(max_size=200))
def test_any_text_is_a_policy_or_refused(text: str) -> None:
    """Nothing but WitnessPolicyError comes out of parse; what is taken has a quorum."""
    with contextlib.suppress(WitnessPolicyError):
        policy = witness_policy.parse(text)
        assert policy.satisfied_by([each.name for each in policy.witnesses])
