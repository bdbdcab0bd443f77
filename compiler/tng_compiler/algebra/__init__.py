"""The one exact algebra of destinations, cgroups and unknown sets: analysis, ``find`` and ``diff`` ask it.

Theory: what a packet meets is decided by finitely many facts: its way, protocol and family, which destinations of which
entries it has, which cgroups its socket is in, and what the operator's sets hold. ``plane`` cuts destinations by
everything that is named, as finely as names go and no finer (atomic predicates: Yang and Lam, ICNP 2013); ``cgroups``
does so with cgroups; ``diagrams`` are answers that depend on sets. ``union`` writes the destinations of one capture in
the one form that they have.
"""
