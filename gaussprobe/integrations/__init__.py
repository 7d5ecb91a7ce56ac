"""Adapters to training frameworks and experiment trackers: thin, each an optional extra.

Nothing is imported here; each module imports its own package when it is imported or used itself.
"""
