"""An application that reports an error each half second."""

import time

import sentry_sdk

import resentry

resentry.init(role="api")
while True:
    sentry_sdk.capture_message("still here")
    time.sleep(0.5)
