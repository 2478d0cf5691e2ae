"""Uses of a trained model and of its data, around the core; the core imports none of them."""
