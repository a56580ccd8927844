"""Who is told to look. A notification carries no data."""
