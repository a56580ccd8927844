"""Receives Sentry's webhooks, and keeps Alertmanagers told of each open alert.

    signature.py  whether Sentry has signed a body
    payloads.py   the fields of a webhook that are read; no other one is ever looked at
    news.py       what a webhook says: an alert opens, or what it is about is over
    text.py       what may leave: short texts without personal data
    store.py      SQLite, written by one thread; a webhook is acknowledged after its fsync
    tables.py     the tables, and what a piece of news changes in them
    reading.py    what others read: open alerts, webhooks, Alertmanagers
    post.py       a thread for each Alertmanager, with a back-off of its own
    alertmanager.py  the addresses and the clock of an Alertmanager
    rounds.py     a thread that works in rounds: the base of escalate, canary, fill
    escalate.py   a second copy of a critical alert that nobody takes
    canary.py     an event through Sentry, which must come back
    trips.py      when canaries were sent, and when they came back
    duty.py       makes these two
    fill.py       asks Sentry's API for what no webhook has told
    receive.py    the webhook's address: each request has one of the stated answers
    connection.py bounds what a connection may hold
    metrics.py    the bridge's metrics; duty_metrics.py those of escalation and canary
    status.py     what the bridge knows, as JSON; page.py as a page of text
    service.py    starts all of it

Never a part of the sidecar: it needs `resentry-agent[bridge]`.
"""
