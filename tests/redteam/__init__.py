"""What a hostile job tries, what it would get without the defences, and what it gets with them."""

import os

# gRPC's remarks on forks are no part of the table.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
# A control is started by a fork, in which gRPC would set up threads of its own; about one in 600 died of it, by a signal
# that nobody had sent (grpc/grpc issue 43055).
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
