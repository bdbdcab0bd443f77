"""Questions about one flow: ``flow`` reads them, ``ask`` answers them from the plan and the rules, ``text`` says it."""
