"""Quality of service: queueing disciplines, classes, filters and policers, as `tc` and the configuration file name
them."""
