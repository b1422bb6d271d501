"""From maps to one label per pixel: background rules, dense CRF, affinity walks, palette PNG. No torch."""
