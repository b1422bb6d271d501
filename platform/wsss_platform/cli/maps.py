"""`maps`: class activation maps of a run."""

from __future__ import annotations

from wsss_platform.cli import options


def maps(
    run: options.RunName,
    score_list: options.ScoreList = None,
    changes: options.Set = None,
    storage: options.Storage = options.STORAGE,
    workers: options.Producers = None,
    gpus_per_worker: options.GpusPerWorker = None,
    max_failures: options.MaxFailures = 0,
    local: options.Local = False,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
) -> None:
    """Turn a run's weights into class activation maps of a list."""
    from wsss_platform.cli.stages import continue_run
    from wsss_platform.store.artefacts import Store

    continue_run(
        "maps",
        run,
        Store(storage, max_failures),
        score_list=score_list,
        changes=changes,
        workers=workers,
        gpus_per_worker=gpus_per_worker,
        local=local,
        dry_run=dry_run,
        as_json=as_json,
    )
