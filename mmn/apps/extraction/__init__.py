"""From video files to the feature rows that the model is trained on."""
