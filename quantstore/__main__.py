"""`python -m quantstore` is the shell command `quantstore`."""

from __future__ import annotations

from quantstore.cli.app import main

if __name__ == "__main__":
    raise SystemExit(main())
