"""`python -m overheard`: the command line."""

from overheard.cli import main

if __name__ == "__main__":
    main()
