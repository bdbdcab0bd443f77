"""What the compiler has to say: one type of diagnostic, stable codes, and the forms for people and tools."""
