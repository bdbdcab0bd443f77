"""The processes of one instance: how they are forked, what they may do, and what each of them does."""
