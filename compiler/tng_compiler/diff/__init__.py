"""Two plans to the traffic whose fate differs."""
