from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batteryxr.cdi.bragg.kernels.schedule import ALGORITHMS, Stage, parse
from batteryxr.core.errors import ArgumentError


def test_reads_like_a_methods_section():
    assert parse("200 HIO + 100 ER") == (
        Stage("HIO", 200, 0.9),
        Stage("ER", 100, 0.9),
    )


def test_groups_repeat():
    assert parse("2*(20*ER+180*HIO)+20*ER") == parse(
        "20 ER + 180 HIO + 20 ER + 180 HIO + 20 ER"
    )


def test_feedback_of_its_own():
    blocks = parse("50 hio(0.75) + 2(10 RAAR)", beta=0.8)
    assert [b.beta for b in blocks] == [0.75, 0.8, 0.8]


@pytest.mark.parametrize(
    "text, place",
    [
        ("200 HIO, 100 ER", "character 8, found ', 100 ER'"),
        ("200 FOO", "one of ER, HIO, RAAR, SF, DM, ML at character 4"),
        ("", "found 'the end'"),
        ("3*(20 ER + 10 HIO", "')' at character 18"),
        ("0 ER", "a number of iterations > 0"),
    ],
)
def test_says_where_it_stumbles(text, place):
    with pytest.raises(ArgumentError, match="schedule=") as caught:
        parse(text)
    assert place in str(caught.value)


blocks = st.tuples(st.integers(1, 999), st.sampled_from(ALGORITHMS))


@given(st.lists(blocks, min_size=1, max_size=6), st.integers(1, 4))
def test_repeats_every_block_in_order(wanted, times):
    text = f"{times}*(" + " + ".join(f"{n} {name}" for n, name in wanted) + ")"
    found = [(b.iterations, b.algorithm) for b in parse(text)]
    assert found == wanted * times
