"""The bytes of what a run has stored, to compare two runs."""

from pathlib import Path


def files_of(folder: Path) -> dict[str, bytes]:
    """All files but the manifests, which say how long a stage took."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: content for name, content in found.items() if not name.endswith("manifest.json")}
