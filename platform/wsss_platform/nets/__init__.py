"""Networks shared by methods: backbones with named taps, and the CAM classifier."""
