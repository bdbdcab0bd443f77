"""What will be: ports, marks, disjoint regions, and what is questionable about them."""
