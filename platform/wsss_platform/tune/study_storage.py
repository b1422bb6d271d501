"""Where a study lives: Optuna's journal in its folder, or a database that optuna-dashboard and a team can open.

A database is named by URL: sqlite:///file.db, or postgresql://user:password@host/name (needs psycopg). The password is
never written down: the folder keeps the URL without user and password (`storage.json`), and with it a token that the
database holds too, so that two storage folders cannot drive one study of the same name.
"""

from __future__ import annotations

import json
import re
import secrets
import string
import warnings
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.study import StudyDirection
from sqlalchemy.exc import SQLAlchemyError

from wsss_platform.engine.errors import last_line
from wsss_platform.errors import InputError, unknown
from wsss_platform.store.artefacts import write_atomic
from wsss_platform.tune.journal import WholeLines
from wsss_platform.tune.objectives import ACCURACY, DIRECTIONS

JOURNAL, PLACE = "journal.log", "storage.json"
"""In the study's folder: the journal, or where the study lives instead."""
DRIVEN_BY = "driven by folder"
"""Note of a study in a database: which folder drives it."""
SINGLE = {ACCURACY: DIRECTIONS[ACCURACY]}


def open_study(folder: Path, url: str | None = None, objectives: Mapping[str, str] = SINGLE) -> optuna.Study:
    """The Optuna study of a folder, created when there is none. Its sampler is set by the searcher.

    Args:
        folder: the study's; its name is the study's.
        url: of the database, for a study that lives in one or shall; None for the journal.
        objectives: of a study that is made here: name -> "maximize" or "minimize".

    Raises:
        InputError: a URL that is none or cannot be reached (named without its password), a study that lives elsewhere
            than `url` says, or one of this name that another folder drives.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal, place = folder / JOURNAL, folder / PLACE
    found = json.loads(place.read_text(encoding="utf-8")) if place.is_file() else None
    if url is None:
        if found is not None:
            raise InputError(
                f"study {folder.name!r} lives in {found['url']}: name it with --study-storage or WSSS_STUDY_STORAGE"
            )
        return _study(JournalStorage(WholeLines(journal)), folder, objectives)
    url = absolute(url)
    shown = without_secrets(url)
    if journal.is_file():
        raise InputError(f"study {folder.name!r} lives in its journal; leave out --study-storage, or give a --name")
    if found is not None and absolute(found["url"]) != shown:
        raise InputError(f"study {folder.name!r} lives in {found['url']}, not in {shown}")
    study = _study(_database(url), folder, objectives)
    token = None if found is None else found["token"]
    holder = study.user_attrs.get(DRIVEN_BY)
    if holder is None and token is None:
        token = secrets.token_hex(8)
        study.set_user_attr(DRIVEN_BY, token)
    elif holder != token:
        raise InputError(
            f"{shown} holds a study {folder.name!r} that another storage folder drives; give this one another --name"
        )
    if found is None:
        write_atomic(place, json.dumps({"url": shown, "token": token}))
    return study


def absolute(url: str) -> str:
    """The URL; of SQLite with an absolute path, as workers and later calls have other working directories.

    Raises:
        InputError: a database in memory, which would end with the call.
    """
    scheme, found, rest = url.partition("://")
    if scheme.split("+")[0] != "sqlite" or not found:
        return url
    path, mark, query = rest.removeprefix("/").partition("?")
    if path not in ("", ":memory:") and (not rest.startswith("/") or path.startswith("file:")):
        return url
    if path in ("", ":memory:"):
        raise InputError(f"--study-storage {url}: a database in memory ends with the call; name a file: sqlite:///FILE")
    return f"{scheme}:///{Path.cwd() / path}{mark}{query}"


def without_secrets(url: str) -> str:
    """The URL without user, password and query, such as "postgresql://host/name".

    Raises:
        InputError: no URL of SQLite or PostgreSQL; what was given is not repeated beyond its scheme.
    """
    scheme, colon, rest = url.partition("://")
    scheme = scheme.split("+")[0]
    if scheme not in ("sqlite", "postgresql") or not colon:
        if not colon or set(scheme) - set(string.ascii_letters):
            raise InputError("--study-storage: expected a URL, such as sqlite:///studies.db or postgresql://host/name")
        raise unknown("database (--study-storage)", scheme, ["sqlite", "postgresql"])
    if scheme == "postgresql":
        rest = rest.rpartition("@")[2]  # before it: a password may hold an unquoted "/", "?" or "#"
    return f"{scheme}://{re.split('[?#]', rest)[0]}"


def _database(url: str) -> BaseStorage:
    scheme, _, rest = url.partition("://")
    if scheme == "postgresql":  # SQLAlchemy would take psycopg2, which is in maintenance
        url = f"postgresql+psycopg://{rest}"
    kwargs = {} if scheme.startswith("sqlite") else {"pool_pre_ping": True}  # a server may have closed the line
    try:
        return RDBStorage(url, engine_kwargs=kwargs)
    except ImportError as error:
        raise InputError(
            f"--study-storage {without_secrets(url)}: its driver is not installed: "
            f"pip install 'wsss-platform[postgres]' ({_hidden(last_line(error), url)})"
        ) from None
    except (SQLAlchemyError, ValueError, RuntimeError) as error:
        raise InputError(
            f"--study-storage {without_secrets(url)}: cannot be used: {_hidden(last_line(error), url)}"
        ) from None


def _hidden(text: str, url: str) -> str:
    """An error's text without what stands before the @ of the URL, raw or decoded."""
    user, _, password = urlsplit(url).netloc.rpartition("@")[0].partition(":")
    for secret in sorted({password, unquote(password), f"{user}:{password}"} - {"", ":"}, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def _study(storage: BaseStorage, folder: Path, objectives: Mapping[str, str]) -> optuna.Study:
    directions = [StudyDirection[direction.upper()] for direction in objectives.values()]
    study = optuna.create_study(storage=storage, study_name=folder.name, directions=directions, load_if_exists=True)
    if len(study.directions) > 1 and study.metric_names is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(list(objectives))  # what optuna-dashboard and the table of trials call them
    return study
