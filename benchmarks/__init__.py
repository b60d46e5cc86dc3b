"""What trustspace costs, measured beside what it stands on: see README.md."""
