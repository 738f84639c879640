"""`python -m parley.app` is one gateway process; `parley serve` starts it, and the notary beside it."""

from parley.app.server import main

if __name__ == "__main__":
    main()
