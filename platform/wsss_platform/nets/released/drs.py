"""DRS: its classification and refinement networks on VGG-16."""

from __future__ import annotations

from wsss_platform.nets.released.names import Release, Rule

_CONVOLUTIONS = {(1, 1): 0, (1, 2): 2, (2, 1): 5, (2, 2): 7} | {
    (layer, number): first + 2 * (number - 1) for layer, first in ((3, 10), (4, 17), (5, 24)) for number in (1, 2, 3)
}
"""(layer, number) of the released names -> index in `features`; its activation comes next."""

_PLAIN: tuple[Rule, ...] = (
    (r"features\.(\d+)\.(weight|bias)", r"backbone.features.\1.\2"),
    # The released modules hold each convolution twice.
    *(
        (rf"layer{layer}_conv{number}\.(weight|bias)", rf"backbone.features.{index}.\1")
        for (layer, number), index in _CONVOLUTIONS.items()
    ),
    *((rf"extra_conv{number}\.(weight|bias)", rf"tail.{2 * number - 2}.\1") for number in (1, 2, 3)),
    (r"extra_conv4\.(weight|bias)", r"classifier.\1"),
)

_CONTROLS: tuple[Rule, ...] = (
    *(
        (rf"layer{layer}_relu{number}\.fc\.0\.weight", f"backbone.features.{index + 1}.control.weight")
        for (layer, number), index in _CONVOLUTIONS.items()
    ),
    *((rf"extra_relu{number}\.fc\.0\.weight", f"tail.{2 * number - 1}.control.weight") for number in (1, 2, 3)),
)

RELEASES = (
    Release(
        name="drs-classify",
        title="DRS's classification network (learnable; for another add --set suppression.control=constant)",
        source="qjadud1994/DRS, models/vgg.py",
        rules=(*_PLAIN, *_CONTROLS),
        method="drs",
        phase="classify",
        selection="train ground truth",
    ),
    Release(
        name="drs-refine",
        title="DRS's refinement network",
        source="qjadud1994/DRS, models/vgg_refine.py",
        rules=_PLAIN,
        method="drs",
        phase="refine",
        selection="train ground truth",
    ),
)
