"""Typed settings, read from YAML; messages that say what to type instead."""
