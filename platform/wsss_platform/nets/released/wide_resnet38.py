"""WideResNet-38: the authors' mxnet file, and checkpoints of the codes that use the network."""

from __future__ import annotations

from wsss_platform.nets.released.names import Release, Rule

_BRANCH = r"(branch1|branch2a|branch2b1|branch2b2)"
_MXNET = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_var": "running_var"}

MXNET_RULES: tuple[Rule, ...] = (
    ("conv1a_weight", "conv1a.weight"),
    # blocks a, b1, b2, .. of group n: ours are bn, bn_1, bn_2, ..
    (rf"res(\d)a_{_BRANCH}_weight", r"b\1.conv_\2.weight"),
    (rf"res(\d)b(\d)_{_BRANCH}_weight", r"b\1_\2.conv_\3.weight"),
    *((rf"bn(\d)a_{_BRANCH}_{theirs}", rf"b\1.bn_\2.{ours}") for theirs, ours in _MXNET.items()),
    *((rf"bn(\d)b(\d)_{_BRANCH}_{theirs}", rf"b\1_\2.bn_\3.{ours}") for theirs, ours in _MXNET.items()),
    *((f"bn7_{theirs}", f"bn7.{ours}") for theirs, ours in _MXNET.items()),
    (r"linear1000_(weight|bias)", None),
)
"""What convert_mxnet_to_torch of psa's network/resnet38d.py does [code]."""

BLOCKS = r"(conv1a|bn7|b\d(?:_\d)?\.(?:conv|bn)_branch\w+)\.(weight|bias|running_mean|running_var|num_batches_tracked)"
"""The network's tensors in all of PSA, SEAM, EPS, PPC, FBR and RTC, whose names are kept here."""

HEADS = (
    "fc8|f8_3|f8_4|f8_5|f9|f9_1|f9_2|fc_proj|proj_fg|proj_bg|bg_bn|bg_classifier|proj1|proj2|classifier1|classifier2"
    "|fc8_seg_conv[1-5]|_aff"
)
"""What those codes put on it: classifiers, projections, PCM, AffinityNet, RTC's segmentation head and its PAMR."""

RELEASES = (
    Release(
        name="resnet38-mxnet",
        title="WideResNet-38's ImageNet weights (ilsvrc-cls_rna-a1_cls1000_ep-0001.params)",
        source="jiwoon-ahn/psa, network/resnet38d.py, convert_mxnet_to_torch; file from itijyou/ademxapp",
        rules=MXNET_RULES,
        backbone="wide_resnet38",
        mxnet=True,
    ),
    Release(
        name="resnet38-backbone",
        title="WideResNet-38 out of a checkpoint of PSA, SEAM, EPS, PPC, FBR-S or RTC, without its heads",
        source="network/resnet38d.py of those codes",
        rules=((BLOCKS, r"\1.\2"), (rf"(?:{HEADS})\..*", None)),
        backbone="wide_resnet38",
    ),
)
