"""What the compiler has to say: one type of diagnostic, stable codes, and the forms in which people and tools read them."""
