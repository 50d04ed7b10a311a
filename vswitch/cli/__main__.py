"""`python -m vswitch.cli`: vswitchctl without its installed script."""

from .main import main

main()
