"""The laboratory itself: what it makes works, and nothing of it is left."""

from __future__ import annotations

import pytest

from tests.lab import NETNS_DIR, Lab, exists, wait_for


def test_a_veth_pair_joins_two_namespaces_and_both_go(lab: Lab) -> None:
    with Lab() as inner:
        left, right = inner.namespace("l"), inner.namespace("r")
        near, far = inner.veth("near", "far", near_netns=left, far_netns=right)
        inner.address(near, "10.0.0.1/24", netns=left)
        inner.address(far, "10.0.0.2/24", netns=right)
        assert exists(near, netns=left) and not exists(near)
        assert inner.ping("10.0.0.2", netns=left)
    assert not (NETNS_DIR / left).exists() and not (NETNS_DIR / right).exists()


def test_what_a_failing_test_made_goes_too() -> None:
    with pytest.raises(RuntimeError), Lab() as inner:
        process = inner.start("cat", "/dev/zero")
        raise RuntimeError
    assert not process.alive()


def test_the_output_of_a_process_can_be_waited_for(lab: Lab) -> None:
    process = lab.start("sh", "-c", "echo ready; exec tail -f /dev/null")
    wait_for(lambda: "ready" in process.text(), 5, "the process to be ready")
    assert process.stop() != 0 and not process.alive()


def test_waiting_in_vain_names_what_was_awaited() -> None:
    with pytest.raises(pytest.fail.Exception, match="in vain for the impossible"):
        wait_for(lambda: False, 0.01, "the impossible")


def test_a_tap_and_a_bridge_go_with_the_lab(lab: Lab) -> None:
    with Lab() as inner:
        tap = inner.tap("t")
        bridge = inner.bridge("b", tap)
        assert exists(tap) and exists(bridge)
    assert not exists(tap) and not exists(bridge)
