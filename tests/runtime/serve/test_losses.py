"""Losses between the redirect and the listener: which are told, from look to look."""

from __future__ import annotations

import pytest

from tng_runtime.manifest import Role
from tng_runtime.serve.losses import Figures, Loss, Losses

Looks = list[tuple[int, int]]


def told(role: Role, looks: Looks) -> list[Loss | None]:
    """What each look tells, of packets captured and arrived by then."""
    losses = Losses(role)
    return [losses.look(Figures(*look)) for look in looks]


@pytest.mark.parametrize(
    ("looks", "ingress", "egress"),
    [
        pytest.param([(5, 5), (9, 9)], None, None, id="all_arrive"),
        pytest.param([(5, 4), (9, 9), (12, 11), (14, 14)], None, None, id="some_are_on_their_way"),
        pytest.param([(4, 5), (9, 12), (14, 14)], None, None, id="read_one_after_the_other"),
        pytest.param([(5, 0), (9, 0)], Loss(9, 0, fault=True), Loss(9, 0, fault=True), id="none_arrives"),
        pytest.param([(5, 0), (5, 0)], Loss(5, 0, fault=True), Loss(5, 0, fault=False), id="once_and_no_more"),
        pytest.param([(9, 6), (9, 6)], Loss(9, 6, fault=True), Loss(9, 6, fault=False), id="after_some_had_arrived"),
        pytest.param([(9, 6), (12, 8)], Loss(12, 8, fault=True), Loss(12, 8, fault=False), id="between_others"),
        pytest.param([(90, 90), (99, 90), (3, 3), (5, 5)], None, None, id="the_table_is_a_new_one"),
    ],
)
def test_what_is_lost_is_told_once(looks: Looks, ingress: Loss | None, egress: Loss | None) -> None:
    assert [loss for loss in told("ingress", looks) if loss] == ([ingress] if ingress else [])
    assert [loss for loss in told("egress", looks) if loss] == ([egress] if egress else [])


def test_a_filter_that_comes_while_connections_arrive_is_told_of_when_none_does_any_more() -> None:
    """At an egress it may have chosen until then."""
    assert told("egress", [(8, 6), (12, 6), (15, 6), (18, 6)]) == [
        None,
        Loss(12, 6, fault=False),
        Loss(15, 6, fault=True),
        None,
    ]
    assert told("ingress", [(8, 6), (12, 6), (15, 6)]) == [None, Loss(12, 6, fault=True), None]


def test_it_is_over_when_all_arrives_again_and_a_choice_is_told_once() -> None:
    losses = Losses("ingress")
    lasts = []
    for figures in (Figures(5, 0), Figures(5, 0), Figures(8, 3)):
        losses.look(figures)
        lasts.append(losses.now is not None)
    assert lasts == [False, True, False]
    losses.look(Figures(10, 3))
    assert losses.look(Figures(11, 4)) == Loss(3, 1, fault=True)
    assert told("egress", [(5, 3), (7, 5), (9, 5), (11, 7), (13, 9)]).count(None) == 4


def test_what_our_own_rules_refuse_is_no_loss_and_rules_that_do_not_count_tell_nothing() -> None:
    counters = {"ingress_0_captured": 7, "ingress_0_arrived": 2, "strayed_loopback": 4, "squatted_listener": 1}
    figures = Figures.of(counters, "/add_ingress/0")
    assert figures is not None
    assert figures.missing == 0
    assert Figures.of({"ingress_0_captured": 7}, "/add_ingress/0") is None
