"""The search over stored maps: settings of rule and CRF, halved over images, confirmed on others."""
