"""`python -m parley.cli` is `parley`."""

from parley.cli.main import main

main()
