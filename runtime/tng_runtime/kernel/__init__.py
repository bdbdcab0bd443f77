"""What the runtime asks of the kernel: an instance's tables of rules, its lock in a network namespace, and sockets."""
