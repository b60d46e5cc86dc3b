"""``python -m trustspace`` is the command line."""

from trustspace.cli.main import main

if __name__ == "__main__":
    main()
