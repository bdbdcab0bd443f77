"""What a packet meets, as values: the one home of the rules, between the plan and the texts."""
