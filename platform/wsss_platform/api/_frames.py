"""pandas, where it is installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wsss_platform.errors import InputError


def data_frame(columns: Mapping[str, Any]) -> Any:
    """A pandas DataFrame; InputError where pandas is not installed."""
    try:
        import pandas  # type: ignore[import-untyped]
    except ImportError:
        raise InputError("to_pandas needs the package pandas, which is not installed: pip install pandas") from None
    return pandas.DataFrame(dict(columns))
