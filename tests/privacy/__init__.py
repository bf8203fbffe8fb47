"""Secrets are put in wherever one may be, and looked for in everything that is written."""
