"""Commands that try hard to break a run; `python -m tests.stress.kill_and_resume`."""
