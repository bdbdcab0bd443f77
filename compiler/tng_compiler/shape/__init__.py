"""JSON values against the JSON Schema: which fields exist, of which types, in which ranges.

Theory: the schema is the one description of the language, for editors and for this stage. It says per field what it can
be; what fields mean together is ``model``'s business, which says it with better words and with places.
"""
