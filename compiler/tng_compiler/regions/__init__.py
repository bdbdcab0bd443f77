"""The algebra asked of all traffic at once, by ``find`` and ``diff``: where has a question which answer?"""
