"""The space: routes, stores ciphertext, keeps the ledger; holds no key to anything it stores."""
