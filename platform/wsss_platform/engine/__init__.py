"""Ray: clusters, training workers, the producer and the tuner. The only room that imports ray."""
