"""The sidecar: source -> guard rails -> DSN check -> volume -> processes -> receipts.

    settings/     the agent's own settings: the only reader of the environment
    errors.py     the error tree: each class is what the agent does next
    parts.py      makes all parts from the settings
    pipeline.py   a pass: `read` changes nothing, `publish` does; the order of the stages
    passing.py    the one pass that runs: its thread, its deadline, who waits for it
    operator.py   what an operator may ask for: a request in, wishes out
    loop.py       posted calls, carried out by one thread
    schedule.py   the interval, the back-off, and a clock that may be set
    control.py    the Unix socket through which commands steer the daemon
    services.py   starts what the first pass does without: HTTP, control, schedule
    daemon.py     the loop's calls: the only writer of what is known, and of the volume
    domain/       decisions and values, pure: validate, rollout, passes, view, wishes
    source/       where Sentry's settings are read: Vault, or what is mounted
    dsn_check/    asks a new DSN's server whether it takes the key
    publish/      the atomic volume, and the agent's own memory
    notify/       the real-time signal; a POST
    confirm/      reads receipts, knows which target lives
    observe/      what others see of a view: health, JSON, log lines, metrics, HTTP
    cli/          one file per command
    schemas/      the JSON Schema of what each command prints, generated
    backoff.py    how long to wait before what failed is tried again
    locks.py      asks the kernel who holds a lock
    watch.py      inotify of one directory
    web.py        one bounded POST
    protect.py    keeps other processes out of this one

A stage never imports another stage; only the pipeline knows their order. One thread
changes what is known: the loop's. docs/architecture.md has the picture.
"""
