"""Paired measurements against the Rust TNG: ratios within one run, medians of alternating rounds."""
