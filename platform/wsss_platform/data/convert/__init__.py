"""Other data sets' files turned into what `data` reads: COCO, pickled labels, XML."""
