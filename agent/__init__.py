"""The sidecar: source -> validate -> publish -> notify -> confirm.

    settings/     the agent's own settings: the only reader of the environment
    errors.py     the error tree: each class is what the agent does next
    pipeline.py   one pass: the five stages in order
    daemon.py     when a pass runs: words, deadlines, shutdown
    schedule.py   the interval, the back-off, and a clock that may be set
    follow.py     what follows a publication: receipts, reminders
    domain/       decisions, pure: candidate, validate, rollout, outcome, redact
    source/       where Sentry's settings are read: Vault, or what is mounted
    publish/      the atomic volume
    notify/       the real-time signal; a POST
    probe/        asks a new DSN's server whether it takes the key
    confirm/      reads receipts, knows which target lives
    observe/      logs, metrics, the HTTP endpoints, what `status` prints
    cli/          one file per command
    watch.py      inotify of one directory
    protect.py    keeps other processes out of this one

A stage never imports another stage; only the pipeline knows their order.
"""
