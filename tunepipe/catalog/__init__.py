"""Models, regions, prices and service limits, with their sources and dates."""
