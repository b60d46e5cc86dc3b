"""A job before anybody is asked: the same programs, sandbox and checks on the developer's machine, on made-up rows."""
