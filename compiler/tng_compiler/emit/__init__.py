"""What a plan is written as: rules by the tree of ``rules``, the manifest, and texts and pictures for people."""
