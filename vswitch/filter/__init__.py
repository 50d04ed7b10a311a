"""Packet filter, connection tracking and NAT: their models and grammars."""
