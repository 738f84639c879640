"""Lets `python -m parley_sandbox` run the command line."""

from parley_sandbox.cli import main

if __name__ == "__main__":
    main()
