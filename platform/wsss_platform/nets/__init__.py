"""Networks: backbones, heads, affinity networks, released checkpoints, tricks for CPUs."""
