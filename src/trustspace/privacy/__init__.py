"""What an output tells about people, in numbers: pure functions, each with its source."""
