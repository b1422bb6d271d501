"""Search of rule and CRF settings on a run's stored maps. No Ray: threads over pictures on shared lattices."""
