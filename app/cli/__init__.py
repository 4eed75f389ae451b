"""The command line of train.py; this file imports nothing, so that --help is instant."""
