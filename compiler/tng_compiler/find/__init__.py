"""A pattern of traffic to a witness, or to the proof that there is none."""
