"""Secrets and home folders out of text before it is stored or sent.

A net below the rule that environment variables are never recorded: what a user types after
`--api-key` or what a failing download prints into its reason must not reach a record.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HIDDEN = "***"
"""What stands where a secret stood."""

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)[^\s/?#]+@")
_SENSITIVE = r"[\w.-]*(?:api[_-]?key|access[_-]?key|private[_-]?key|token|secret|passw(?:or)?d|credential)[\w.-]*"
_ASSIGNED = re.compile(
    rf"(?P<name>{_SENSITIVE}[\"']?\s*[=:]\s*|--{_SENSITIVE}\s+)(?P<value>\"[^\"]*\"|'[^']*'|[^\s,;]+)",
    re.IGNORECASE,
)
_HEADER = re.compile(r"\b(?P<kind>bearer|basic)\s+[A-Za-z0-9+/=_.~-]{16,}", re.IGNORECASE)
_KNOWN = re.compile(
    r"\b(?:wandb_v\d+_|gh[opsur]_|github_pat_|glpat-|hf_|sk-|xox[abprs]-|AKIA|eyJ)[A-Za-z0-9_.-]{12,}"
    r"|\b[a-z]+-[0-9a-f]{40}\b"  # a W&B key of a company's own server
)
_LONG = re.compile(r"(?<![A-Za-z0-9])[A-Za-z0-9]{36,}(?![A-Za-z0-9])")
_CONTENT_KEY = re.compile(r"[0-9a-f]{64}")
_CONFIG_VALUE = re.compile(r"[\w]+(?:\.\w+)+\s*=\s*")
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|true|false")


def scrub(text: str) -> str:
    """The text without what may be a secret; ordinary words, numbers and content keys stay.

    Hidden are: user and password of a URL; the value of a name such as WANDB_API_KEY, --token or
    password (but not a number given to a dotted config path, `loss.class_token=0.1`); authorisation
    headers; keys with a known prefix; and any unbroken 36 or more letters and digits that hold both,
    except 64 hex digits (a content key). Scrubbing twice changes nothing more.
    """
    text = _URL.sub(rf"\g<scheme>{HIDDEN}@", text)
    text = _ASSIGNED.sub(_hide_value, text)
    text = _HEADER.sub(rf"\g<kind> {HIDDEN}", text)
    text = _KNOWN.sub(HIDDEN, text)
    return _LONG.sub(_hide_long, text)


def _hide_value(match: re.Match[str]) -> str:
    name, value = match["name"], match["value"]
    if _CONFIG_VALUE.fullmatch(name) and _NUMBER.fullmatch(value):
        return match[0]
    quote = value[0] if value[0] in "\"'" and value[0] == value[-1] and len(value) > 1 else ""
    return name + quote + HIDDEN + quote


def _hide_long(match: re.Match[str]) -> str:
    word = match[0]
    mixed = any(letter.isdigit() for letter in word) and any(letter.isalpha() for letter in word)
    return word if not mixed or _CONTENT_KEY.fullmatch(word) else HIDDEN


def scrub_command(arguments: Sequence[str]) -> str:
    """A command line as one shell-quoted text without secrets, also when one is an argument of its own."""
    clean: list[str] = []
    hide_next = False
    for argument in arguments:
        clean.append(HIDDEN if hide_next else scrub(argument))
        hide_next = not hide_next and re.fullmatch(rf"--{_SENSITIVE}", argument, re.IGNORECASE) is not None
    return " ".join(part if part == HIDDEN else shlex.quote(part) for part in clean)


def shareable(value: Any) -> Any:
    """Plain data for what leaves the machine: every text scrubbed, the user's home folder written as "~"."""
    if isinstance(value, str):
        home = str(Path.home())
        text = value if home == "/" else re.sub(rf"{re.escape(home)}(?=/|$)", "~", value)
        return scrub(text)
    if isinstance(value, Mapping):
        return {name: shareable(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [shareable(item) for item in value]
    return value
