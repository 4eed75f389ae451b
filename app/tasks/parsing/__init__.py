"""The parts of dependency parsers: features, scorers, transitions, trees."""
