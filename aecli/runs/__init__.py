"""Runs on disk: their folders and records, what keeps them whole, what a run needs of a machine."""
