"""Runs measured, and held against each other."""
