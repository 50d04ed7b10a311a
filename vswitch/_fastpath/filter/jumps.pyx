"""What could send a walk astray: chains that call each other in a circle, or too deep. Refused before there is a
ruleset.
"""
from .rule cimport JUMPS, TARGET_GOTO, TARGET_JUMP


def check_jumps(list chains):
    """That jumps and gotos lead to user chains of the same table, in no circle, and jumps at most JUMPS deep."""
    calls = [{(args[0], op == TARGET_JUMP) for _, _, (op, args) in chain.rules if op in (TARGET_JUMP, TARGET_GOTO)}
             for chain in chains]
    for number, chain in enumerate(chains):
        for callee, _ in calls[number]:
            if not 0 <= callee < len(chains) or chains[callee].table != chain.table or chains[callee].hook is not None:
                raise ValueError(f"a rule leads to chain {callee}, which is not one of its table's own")
    depth = {}
    for number in range(len(chains)):
        if number not in depth:
            measure(number, calls, depth)
    if any(depth[number] > JUMPS for number in depth):
        raise ValueError(f"chains call each other more than {JUMPS} deep")


def measure(int root, list calls, dict depth):
    """How deep the jumps below a chain go, into `depth`; with a stack of its own, since chains may be many."""
    stack = [(root, iter(calls[root]))]
    under_way = {root}
    while stack:
        number, todo = stack.pop()
        callee = next((callee for callee, _ in todo if callee not in depth), None)
        if callee is None:
            depth[number] = max((depth[callee] + jumps for callee, jumps in calls[number]), default=0)
            under_way.discard(number)
        elif callee in under_way:
            raise ValueError("chains call each other in a circle")
        else:
            under_way.add(callee)
            stack.append((number, todo))
            stack.append((callee, iter(calls[callee])))
