"""`python -m wsss_platform.cli`: the command, of the code that Python's path names first."""

from __future__ import annotations

from wsss_platform.cli import main

if __name__ == "__main__":
    main()
