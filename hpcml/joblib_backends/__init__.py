"""Backends for joblib that take tasks to other machines; each is registered on request."""
