"""A trusted operation space: data is used without being seen or stored anywhere but with its owner.

Floors, each importing only itself and the floors below (docs/architecture.md; held by
tests/test_architecture.py)::

    5 entry      cli  demo                       what people touch; they speak to client
    4 processes  space  enclave  client          sockets, clock, threads
    3 plumbing   sandbox  transport  storage     subprocesses, gRPC channels, files
    2 practice   jobs  data  evidence            what a job is, a dataset is, a reviewer is told
    1 core       crypto  ledger  domain          bytes and values in, bytes and values out
    0            errors
"""

__version__ = "0.1.0"
