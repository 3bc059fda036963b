"""`python -m aecli`: the same program as the console script."""

from aecli.cli import main

if __name__ == "__main__":
    main()
