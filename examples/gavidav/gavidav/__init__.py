"""What the notebooks of gavidav share: the query, the physics, the figures, and the widgets around them."""
