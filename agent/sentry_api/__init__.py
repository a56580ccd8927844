"""Asks Sentry's web API: the token, the pages, and an error for each bad answer."""
