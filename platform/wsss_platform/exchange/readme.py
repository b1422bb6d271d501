"""The README that an export leaves in its folder."""

from __future__ import annotations

from collections.abc import Sequence

from wsss_platform.config import ImportedMasksConfig
from wsss_platform.config.supervision import UNKNOWN, supervision_words
from wsss_platform.plan.experiment import Experiment
from wsss_platform.plan.protocol import protocol

_VOC = """\
| file | what |
|---|---|
| `SegmentationClass/ID.png` | palette PNG, the pixel value is the label: 0 background, c the c-th line after the first of `classes.txt`, 255 undecided |
| `JPEGImages` | a link to the images, where they lay in a VOC tree; else put them there |
| `ImageSets/Segmentation/{list}.txt` | one image id a line |
| `ImageSets/Segmentation/{list}_pairs.txt` | `/JPEGImages/ID.jpg /SegmentationClass/ID.png` a line, to be joined with this folder |
| `image_level_labels.json` | the image-level labels of the split |
| `classes.txt` | names by label, from 0 |
| `scores.parquet` | one row per image: size, undecided pixels, classes{scores} |
"""  # noqa: E501 (a table row is one line)
_COCO = """\
| file | what |
|---|---|
| `pixelmaps/ID.png` | 8-bit grey PNG, the pixel value is the category id: 0 background, 255 undecided |
| `annotations/{list}.json` | categories, images, and one region per class and image as compressed RLE (`pycocotools.COCO(file)`; `annToMask`); regions of a class, not instances |
| `{list}.txt` | one image id a line |
| `scores.parquet` | one row per image: size, undecided pixels, classes{scores} |
"""  # noqa: E501


def readme(
    experiment: Experiment, layout: str, images: int, undecided: int, scored: bool, lacking: Sequence[str]
) -> str:
    """What lies in the folder, how the masks were made, and what 255 means."""
    stage = experiment.stage("masks")
    masks = experiment.masks_config(stage.phase)
    made_here = not isinstance(experiment.config, ImportedMasksConfig)
    rule, crf = (masks.rule, masks.crf) if made_here else (UNKNOWN, UNKNOWN)
    scores = (
        ", IoU with the ground-truth mask by class and mean (null: in neither)"
        if scored
        else "; no IoU, as the run was "
    )
    scores += "" if scored else "not scored (`wsss-platform score RUN`, then export again)"
    table = (_VOC if layout == "voc" else _COCO).format(list=stage.list_name, scores=scores)
    ignored = (
        f"{undecided:,} pixels of these masks are undecided. Train with ignore label 255: they say nothing. To count "
        "them as background, as IRN's evaluation and the scores here do, replace 255 by 0."
        if undecided
        else "255 would mean undecided (to be ignored in training); these masks have no such pixel."
    )
    without = (
        f"\n## Without a mask\n\nThese images failed and are in no split: {', '.join(lacking)}.\n" if lacking else ""
    )
    return (
        f"# Pseudo masks\n\n{images} masks of split `{stage.list_name}`, method `{experiment.method.name}`, "
        f"background rule `{rule}`, CRF `{crf}` (content key {stage.key[:12]}). They were made from "
        f"{supervision_words(protocol(experiment).supervision)}; they are no ground truth.\n\n"
        f"{table}\n## 255\n\n{ignored}\n{without}"
    )
