"""Files, tables, hub sets and downloads to records, and records to splits."""
