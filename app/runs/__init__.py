"""What a run leaves on disk: its folder, its checkpoints, its metrics; one reader and one writer of each."""
