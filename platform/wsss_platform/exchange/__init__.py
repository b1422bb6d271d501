"""A run's masks in the folders that other codebases train on: VOC's and COCO's forms."""
