"""The report of a study: its page, its tables, its pictures."""
