"""The sidecar: source -> guard rails -> DSN check -> volume -> processes -> receipts.

    settings/     the agent's own settings: the only reader of the environment
    errors.py     the error tree: each class is what the agent does next
    redact.py     recognizes secrets by their form, and masks them
    parts.py      makes all parts from the settings
    pipeline.py   a pass: `read` changes nothing, `publish` does; the order of the stages
    passing.py    the running pass: its thread, its deadline, who waits for its end
    following.py  reads the receipts when they may say something new
    operator.py   turns an operator's requests into wishes
    tuning.py    reads what an operator asks for: a boost, a ceiling
    serving.py   has each request carried out once
    verification.py  has processes send test items, by a file on the volume
    loop.py       runs posted calls in one thread
    schedule.py   when the next pass comes; the wall clock may jump
    control.py    the control socket: commands send requests to the daemon
    call.py       sends a request to the running agent, for the commands
    record.py     what the daemon alone knows, in a file for `status` and the next agent
    services.py   starts what comes after the first pass, again if lost: HTTP, control, schedule
    start.py      starts the daemon, with as little as possible before the first pass
    lean.py       loads libraries without what they import and the agent does not use
    daemon.py     the loop's calls: the only writer of what is known, and of the volume
    domain/       decisions and values, pure: validate, rollout, passes, view, wishes
    source/       reads Sentry's settings: from Vault, or from mounted files
    dsn_check/    asks a new DSN's server whether it takes the key
    publish/      the atomic volume, and the agent's own memory
    notify/       the real-time signal; a POST
    confirm/      reads receipts, and finds out which targets live
    observe/      what others see of a view: health, JSON, log lines, metrics, HTTP, a page
    rotation/     replaces a DSN on purpose; the pipeline does not know it
    alerts/       keeps Sentry's alert rules as a file says
    fleet/        asks every pod what its processes run
    sentry_api/   asks Sentry's web API: token, pages, an error for each bad answer
    bridge/       receives Sentry's webhooks, and posts alerts; never in the sidecar
    doctor/       examines a set-up: rules, and what each has found
    cli/          one file per command
    schemas/      the JSON Schema of what each command prints, generated
    backoff.py    how long to wait before what failed is tried again
    locks.py      takes locks, and asks the kernel who holds one
    listen.py     asks whether the agent can listen where it is set to
    watch.py      inotify of one directory
    web.py        one bounded HTTP request
    stored.py     asks Sentry's or Bugsink's API whether an event is stored
    protect.py    keeps other processes out of this one

A stage never imports another stage; only the pipeline knows their order. One thread
changes what is known: the loop's. docs/architecture.md has the picture.
"""
