"""What a hostile job tries, what it would get without the defences, and what it gets with them."""

import os

# gRPC's remarks on forks are no part of the table.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
