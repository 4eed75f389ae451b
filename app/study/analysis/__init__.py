"""What a study's runs say: scores by seed, the declared comparisons, their verdicts, and these in words."""
