"""The Python face of the drop reasons: `Verdict` itself comes from verdict.pxd."""

#: name by number, for the reasons alone: {number: "runt", ...}
DROP_REASONS = {int(v): v.name.lower() for v in Verdict if v > DONE}
