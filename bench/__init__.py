"""The benchmark: the switch beside its peers, the same work in the same conditions.

Only ratios within one run mean anything on a shared machine. So contenders take turns, round
after round (A B C, A B C, ...), each round gives one ratio a pair, and what is reported is the
median of those ratios with its spread. `python -m bench --help` says how to run it,
docs/benchmarks.md what it measures and how to add to it.

The way through the package: `world` (a sandbox that leaves nothing behind), `contenders` (who is
measured), `experiments` (what is measured), `rounds` (in which order), `requirements` and
`verdict` (what must be reached, what was), `report`, `plot`.
"""
