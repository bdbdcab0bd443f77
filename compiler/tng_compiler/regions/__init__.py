"""One exact algebra of traffic, which ``find`` and ``diff`` ask: destinations, cgroups, and sets that are unknown.

Theory: what a packet meets is decided by finitely many facts: its way, protocol and family, which destinations of which
entries it has, which cgroups its socket is in, and what the operator's sets hold. The plane is cut once by everything
that is named, as finely as names go and no finer (atomic predicates: Yang and Lam, ICNP 2013); a question is then asked
of each cell once, and equal answers are joined again. So two documents of one meaning have one answer.
"""
