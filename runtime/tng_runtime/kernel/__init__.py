"""What the runtime asks of the kernel: one table of rules, one lock per network namespace, and sockets."""
