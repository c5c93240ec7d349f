"""``lineshaft`` on the command line: the same as ``python -m lineshaft``."""

from lineshaft.cli import main

if __name__ == "__main__":
    main()
