"""The run that a cluster's faults must not change, and how its files are compared with an undisturbed one's."""

from __future__ import annotations

import filecmp
from pathlib import Path

from real_ray import TRAIN

CHUNKS = 8
"""Of 32 images, the last one small."""
RUN = [*TRAIN, "--train-split", "val", "--score-split", "train", "--until", "score", "--name", "run"]
RUN += ["--set", f"data.sample.train={32 * CHUNKS - 20}", "--set", "train.epochs=2", "--set", "masks.crf=irn"]
QUICK = {f"RAY_health_check_{name}": value for name, value in {"period_ms": "300", "timeout_ms": "1000"}.items()}
QUICK |= {"RAY_health_check_failure_threshold": "5", "RAY_health_check_initial_delay_ms": "0"}
"""A dead node is noticed within seconds."""
CHUNK_FILES = {"maps": "maps-*.parquet", "masks": "chunk-*.done"}
"""Of a stage, one per chunk."""


def different(one: Path, other: Path) -> list[str]:
    """Files of stages that are not the same in both; manifests and metrics say how long something took."""
    roots = (one / "stages", other / "stages")
    names = {path.relative_to(root).as_posix() for root in roots for path in root.rglob("*") if path.is_file()}
    names = {name for name in names if not name.endswith((".lock", "manifest.json", "metrics.jsonl"))}
    assert {name.split("/")[0] for name in names} == {"train", "maps", "masks", "score"}
    both = {name: [root / name for root in roots] for name in names}
    return sorted(
        name
        for name, (one, other) in both.items()
        if not (one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False))
    )


def chunks_of(storage: Path, stage: str) -> list[Path]:
    """What is there of maps or masks, finished or not."""
    return list(storage.glob(f"stages/**/{CHUNK_FILES[stage]}"))
