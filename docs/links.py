"""A hook of mkdocs: links that leave docs/, such as ../README.md, go to the repository."""

from __future__ import annotations

import posixpath
import re
from typing import Any

_LINK = re.compile(r"(\]\()((?:\.\./)+[^)\s]+)")


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Called by mkdocs with the text of each page before it is laid out."""
    folder = posixpath.dirname(f"docs/{page.file.src_uri}")

    def outside(link: re.Match[str]) -> str:
        path = posixpath.normpath(f"{folder}/{link[2]}")
        return link[0] if path.startswith("docs/") else f"{link[1]}{config.repo_url.rstrip('/')}/blob/main/{path}"

    return _LINK.sub(outside, markdown)
