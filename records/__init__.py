"""Rows, files on disk, provenance, errors: the leaf that every other folder reads and writes."""
