"""From maps to one label per pixel: background rules, dense CRF, palette PNG. No torch."""
