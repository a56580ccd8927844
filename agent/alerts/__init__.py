"""Alert rules of Sentry as code, and notices of what people do on purpose."""
