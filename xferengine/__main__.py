"""``python -m xferengine``."""

from xferengine.cli.main import main

if __name__ == "__main__":
    main()
