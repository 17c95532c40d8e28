"""`python -m coachstream.cli`."""

from coachstream.cli import main

if __name__ == "__main__":
    main()
