"""gRPC over mutual TLS: certificates, channels, the one error mapping, and typed links to both servers."""
