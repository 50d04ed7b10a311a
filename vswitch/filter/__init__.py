"""The firewall's control side: what the rules are, and the words of iptables for them."""
