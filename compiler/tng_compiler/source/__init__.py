"""Bytes to JSON values, and JSON pointers back to places in the text.

Theory: reading is fast and blind (the standard ``json``, in C), finding a place is slow and exact. The exact path runs
only when a diagnostic needs it, over the tokens of one lark grammar, which also judges what is not JSON.
"""
