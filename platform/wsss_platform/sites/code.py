"""The code of a job, frozen when it is submitted: a commit, or with --dirty the commit and its changes.

What is sent of each Git work tree is one tar of tracked files, made by `git archive`. Frozen are the checkout that
wsss-platform runs from, if it does, and the work tree around the current folder, which may hold a method of one's own.
Untracked files are not sent, and named.
"""

from __future__ import annotations

import gzip
import io
import re
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wsss_platform.errors import InputError
from wsss_platform.run.scrub import scrub

OWN = ("platform", "methods", "search_spaces", "recipes", "cluster", "pyproject.toml", "LICENSE")
"""What a job needs of wsss-platform's own checkout."""
DIFF = "changes.diff"
"""In the archive: what a dirty tree has beside its commit."""
_SHOWN = 8
_PLACE = Path(__file__).resolve().parent
_HASH = re.compile(r"\b(?:[0-9a-f]{40}|[0-9a-f]{64})\b")
"""Commits and content keys, which are no secrets."""
_LITERAL = re.compile(r"""["']([^"'\s]{8,})["']|[=:]\s*([^\s"'(){}\[\],;]{12,})\s*$""")
_PASSWORD = re.compile(r"://[^\s/:@\"']+:[^\s/@\"'{}]+@|\b[Bb]earer\s+[\w.+/=-]{16,}")
_SENSITIVE = re.compile(r"key|token|secret|passw|credential", re.IGNORECASE)


@dataclass(frozen=True)
class Tree:
    """One frozen Git work tree."""

    name: str
    """Its folder in the archive."""
    root: Path
    commit: str
    """40 hex digits; with "+" where it had changes that are sent, too."""
    diff: str
    """Those changes, or ""."""
    untracked: tuple[str, ...]
    """Files that are not sent."""
    paths: tuple[str, ...]
    """What of it is on Python's path, relative to its folder."""
    source: str
    """The commit that is packed: of the changed tree one to which no branch and no stash entry points."""


@dataclass(frozen=True)
class Code:
    """What a job runs."""

    trees: tuple[Tree, ...]
    """Empty: what its environment has installed."""

    @property
    def commit(self) -> str | None:
        """Of the platform's checkout, else of the first tree."""
        return self.trees[0].commit if self.trees else None

    @property
    def python_path(self) -> tuple[str, ...]:
        """Folders of the archive."""
        return tuple(f"{tree.name}/{path}".rstrip("/.") for tree in self.trees for path in tree.paths)

    def archive(self, files: dict[str, bytes] | None = None) -> bytes:
        """A .tar.gz of all trees below code/, and of further files; the same bytes for the same content."""
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
            for tree in self.trees:
                for member, content in _members(tree):
                    member.name = f"code/{tree.name}/{member.name}"
                    tar.addfile(member, io.BytesIO(content))
                if tree.diff:
                    _add(tar, f"code/{tree.name}/{DIFF}", tree.diff.encode())
            for name, content in sorted((files or {}).items()):
                _add(tar, name, content)
        return gzip.compress(out.getvalue(), mtime=0)


def frozen(here: Path, dirty: bool) -> Code:
    """The code as it is now.

    Args:
        here: the current folder.
        dirty: whether changes of tracked files may be sent.

    Raises:
        InputError: tracked files have changes and `dirty` is False, or the changes seem to hold a secret.
    """
    own = _work_tree(_PLACE)
    if own is not None and not (own / "platform" / "wsss_platform").is_dir():
        own = None  # an environment inside another project's work tree
    around = _work_tree(here)
    trees = []
    if own is not None:
        trees.append(_tree(own, "wsss-platform", ("platform", "methods"), dirty))
    if around is not None and around != own:
        inner = "src" if (around / "src").is_dir() else "."
        trees.append(_tree(around, "code", (inner,), dirty))
    return Code(tuple(trees))


def _tree(root: Path, name: str, paths: tuple[str, ...], dirty: bool) -> Tree:
    changed = _lines(root, "status", "--porcelain", "--untracked-files=no")
    untracked = tuple(_lines(root, "ls-files", "--others", "--exclude-standard"))
    if changed and not dirty:
        files = ", ".join(line[3:] for line in changed[:_SHOWN]) + (" and more" if changed[_SHOWN:] else "")
        raise InputError(
            f"{root}: tracked files have changes ({files}); commit them, or send them with --dirty", field="--dirty"
        )
    commit = _git(root, "rev-parse", "HEAD").strip()
    source = (_git(root, "stash", "create").strip() if changed else "") or commit
    diff = _git(root, "diff", commit, source, "--binary", "--no-color", "--no-ext-diff", "--no-textconv")
    for file in _suspicious(diff):
        raise InputError(
            f"{root}: the changes of {file} seem to hold a secret; remove it before --dirty", field="--dirty"
        )
    return Tree(name, root, commit + ("+" if diff else ""), diff, untracked, paths, source)


def _suspicious(diff: str) -> Iterator[str]:
    """The file of each added line with a literal that may be a secret: by its form, or by the name before it."""
    file = ""
    for line in diff.splitlines():
        if line.startswith("+++ "):
            file = line[4:].removeprefix("b/")
        elif line.startswith("+") and _holds_secret(line[1:]):
            yield file


def _holds_secret(line: str) -> bool:
    if "PRIVATE KEY-----" in line or _PASSWORD.search(line):
        return True
    for found in _LITERAL.finditer(line if _SENSITIVE.search(line) else _HASH.sub("", line)):
        literal = found[1] or found[2]
        mixed = any(letter.isdigit() for letter in literal) and any(letter.isalpha() for letter in literal)
        if scrub(literal) != literal or (mixed and _SENSITIVE.search(line[: found.start()])):
            return True
    return False


def _members(tree: Tree) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """Tracked files of a work tree at its commit, or with its changes. Links are left out: they may lead elsewhere."""
    own = [path for path in OWN if (tree.root / path).exists()] if tree.name == "wsss-platform" else []
    done = _run(tree.root, "archive", "--format=tar", tree.source, *own)
    with tarfile.open(fileobj=io.BytesIO(done)) as tar:
        for member in tar:
            if not member.isfile():
                continue
            content = tar.extractfile(member)
            assert content is not None
            clean = tarfile.TarInfo(member.name)
            clean.size, clean.mode = member.size, member.mode & 0o755 | 0o644
            yield clean, content.read()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o644
    tar.addfile(member, io.BytesIO(content))


def _work_tree(folder: Path) -> Path | None:
    """The Git work tree around a folder, if it has a commit."""
    try:
        _git(folder, "rev-parse", "--verify", "HEAD")
        return Path(_git(folder, "rev-parse", "--show-toplevel").strip()).resolve()
    except InputError as error:
        if re.search("not a git repository|Needed a single revision|not installed", str(error)):
            return None
        raise


def _lines(root: Path, *arguments: str) -> list[str]:
    return [line for line in _git(root, *arguments).splitlines() if line]


def _git(root: Path, *arguments: str) -> str:
    return _run(root, *arguments).decode("utf-8", "replace")


def _run(root: Path, *arguments: str) -> bytes:
    try:
        done = subprocess.run(  # noqa: S603 (fixed arguments, no shell)
            ["git", "-C", str(root), *arguments],  # noqa: S607 (git from the PATH)
            capture_output=True,
            timeout=60,
            check=False,
        )
    except FileNotFoundError:
        raise InputError("git: not installed; the code of a job is frozen with it") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"git: {error}; the code of a job is frozen with it") from None
    if done.returncode:
        raise InputError(f"git {arguments[0]} in {root}: {done.stderr.decode('utf-8', 'replace').strip()}")
    return done.stdout
