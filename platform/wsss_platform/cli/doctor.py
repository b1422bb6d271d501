"""`doctor`: what this machine has, and what is missing for what."""

from __future__ import annotations

from wsss_platform.api import _doctor
from wsss_platform.cli.options import verb
from wsss_platform.cli.output import Output
from wsss_platform.config.verb_options import StoredOptions
from wsss_platform.errors import RunError


@verb("doctor", StoredOptions)
def doctor(*, options: StoredOptions, out: Output) -> None:
    """Say what this machine has and what is missing for what.

    Exits with 1 when something needed is missing.
    """
    from wsss_platform.report.tables.doctor import doctor_result

    document = _doctor.doctor(options.storage)
    out.result(document, *doctor_result(document))
    if document.lacking:
        raise RunError(f"needed and missing: {', '.join(document.lacking)}; what to do stands above")
