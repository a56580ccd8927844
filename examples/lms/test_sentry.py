import sentry_sdk
from sentry_sdk import capture_exception, capture_message

# Test error capture
try:
    1 / 0
except Exception as e:
    capture_exception(e)

# Test message capture
capture_message("Test message from LMS backend")

# Test transaction tracing
with sentry_sdk.start_transaction(op="test", name="test_transaction"):
    print("Testing transaction")
