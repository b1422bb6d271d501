"""What a process is given of a stage: chunks of images. One file a stage; `images` is what they have in common."""
