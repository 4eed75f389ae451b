"""Language modelling: any file as bytes."""
