"""What a switch that is only pretended says of its queues: an HTB of one class a port, a tbf in it, and an fq_codel in that."""

from __future__ import annotations

from vswitch.observe.queueing import BucketReport, ClassReport, QdiscReport, QueueingReport, QueueReport

COUNTED = {"bytes": 9000, "packets": 9, "drops": 3, "overlimits": 2, "requeues": 0, "backlog_bytes": 500, "backlog_frames": 1}


def queueing(ports: list[str]) -> QueueingReport:
    """Each of these ports has a tree, and has been looked at before."""
    trees = (("1:", "htb", "root", None, None), ("10:", "tbf", "1:1", 2000, None), ("20:", "fq_codel", "10:1", None, 4))
    return QueueingReport(
        qdiscs=[
            QdiscReport(port=port, handle=handle, kind=kind, parent=parent, **COUNTED, rate=rate, achieved=990.5, marked=marked)
            for port in ports
            for handle, kind, parent, rate, marked in trees
        ],
        classes=[
            ClassReport(
                port=port, classid="1:1", kind="htb", parent="root", leaf="10:", **COUNTED, rate=1000, achieved=990.5,
                bucket=BucketReport(ceil=3000, tokens_s=-0.25, ceil_tokens_s=0.5, lends=5, borrows=6),
            )
            for port in ports
        ],
        queues=[QueueReport(port=port, classid="1:1", delays=(1,) * 24) for port in ports],
        memory_bytes=4096, memory_frames=2, memory_limit=64 << 20,
    )  # fmt: skip
