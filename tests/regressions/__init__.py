"""What a security review broke once: each test names what would go wrong if its defence were lost again."""
