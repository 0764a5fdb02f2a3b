"""``python -m equitools`` is the program ``equitools``."""

from equitools.cli.app import main

if __name__ == "__main__":
    main()
