"""docs/options.md is what the options say."""

from __future__ import annotations

from pathlib import Path

from wsss_platform.cli.options_page import VERBS, page
from wsss_platform.config.options import leaves_of

PAGE = Path(__file__).parents[2] / "docs" / "options.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "make documents"


def test_every_option_says_what_it_does() -> None:
    for name, options in VERBS.items():
        for leaf in leaves_of(options):
            assert leaf.option.help.endswith("."), (name, leaf.name)
            assert leaf.option.help[0].isupper(), (name, leaf.name)
