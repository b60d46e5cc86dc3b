"""Generated from proto/ by tools/protos.py; imported only by transport, space and enclave."""
