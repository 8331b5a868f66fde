"""Faults under load, and a checker of what clients and replicas saw."""
