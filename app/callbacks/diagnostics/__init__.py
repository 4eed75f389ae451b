"""What is measured of a run: the signs of overfitting, and what each norm does."""
