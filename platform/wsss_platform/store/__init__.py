"""What is stored: artefacts by content key, and the disk they lie on. Nothing of the project above it."""
