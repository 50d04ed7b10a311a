"""vswitch: a userspace virtual switch dataplane daemon for Linux hypervisors."""

__version__ = "0.1.0"
