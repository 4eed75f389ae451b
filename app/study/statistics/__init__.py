"""The statistics of studies: numbers in, numbers out; nothing here knows of a study, a file or a norm."""
